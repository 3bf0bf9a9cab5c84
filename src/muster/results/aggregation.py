"""From the scored answers of one task to its results: aggregates, intervals and breakdowns."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from muster.core import JSON, RunError
from muster.core.text import valid_text
from muster.metrics.protocol import ScoredSample
from muster.results.results import MetricResult, Metrics, SampleCounts, TaskResults, finite
from muster.tasks.definition import Task

NO_VALUE = "(none)"
"""The group of samples whose metadata lacks a breakdown's key."""


def task_results(task: Task, rows: Sequence[ScoredSample], counts: SampleCounts) -> TaskResults:
    """The results of `task` over its scored answers, which are in task order.

    Raises `RunError` where the metric's own code fails.
    """
    info = task.metric.info
    return TaskResults(
        version=task.version,
        metric=info.name,
        metric_variant=info.variant,
        metric_version=info.version,
        primary=info.primary,
        samples=counts,
        metrics=_estimates(task, rows),
        by={key: {value: _estimates(task, part) for value, part in _groups(rows, key)} for key in task.by},
    )


def _estimates(task: Task, rows: Sequence[ScoredSample]) -> Metrics:
    if not rows:
        return {}
    from muster.results.statistics import cluster_ids, estimate_metrics

    try:
        estimates = estimate_metrics(task.metric, rows, cluster_ids(rows, task.cluster))
    except Exception as error:
        raise RunError(
            f"the metric {task.metric.info.name} of task {task.name} failed on {len(rows)} answers: "
            f"{type(error).__name__}: {error}. The answers are kept; once it is mended, `muster score` the run."
        ) from error
    return {
        name: MetricResult(
            value=finite(estimate.value),
            stderr=finite(estimate.stderr),
            ci95=None if estimate.ci95 is None else (finite(estimate.ci95[0]), finite(estimate.ci95[1])),
            unit=task.metric.info.units.get(name, ""),
            n=len(rows),
        )
        for name, estimate in estimates.items()
    }


def _groups(rows: Sequence[ScoredSample], key: str) -> list[tuple[str, list[ScoredSample]]]:
    """Rows by metadata value, sorted by the value so that the order doesn't depend on what errored."""
    groups: dict[str, list[ScoredSample]] = {}
    for row in rows:
        groups.setdefault(_label(row.sample.metadata.get(key)), []).append(row)
    return sorted(groups.items())


def _label(value: JSON) -> str:
    if value is None:
        return NO_VALUE
    return valid_text(value) if isinstance(value, str) else msgspec.json.encode(value).decode()
