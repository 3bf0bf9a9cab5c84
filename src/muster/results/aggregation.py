"""From the scored answers of one task to its results: aggregates, intervals and breakdowns, by each scoring variant."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from muster.core import JSON, ConfigurationError, RunError, Sample
from muster.core.foreign_code import ForeignCode
from muster.core.numbers import whole
from muster.core.text import valid_text
from muster.metrics.protocol import (
    CategorisingMetric,
    DemandingMetric,
    Metric,
    ScoredSample,
    is_judged,
)
from muster.results.answer_scoring import Answer, Outcome, Tally
from muster.results.answer_signs import SignCounter
from muster.results.clusters import Clusters
from muster.results.results import (
    Breakdown,
    JudgedBy,
    MetricResult,
    Metrics,
    TaskResults,
    VariantResults,
    finite,
)
from muster.results.scored_rows import ScoredRows
from muster.results.verdicts import VerdictBook
from muster.tasks.definition import Task
from muster.tasks.samples import Samples

NO_VALUE = "(none)"
"""The group of samples whose metadata lacks a breakdown's key."""
_AS_OBJECTS = 100_000
"""Up to so many answers are held as objects while their scores are aggregated."""
POINTS = "points"
"""A unit that says nothing without the number of points that can be had."""


def scorable(task: Task) -> Task:
    """`task` without the further scoring variants that can't score here."""
    return replace(task, also=tuple(metric for metric in task.also if _why_not(metric) is None))


class TaskScores:
    """Collects a task's scored answers, in task order, and makes the task's results of them."""

    def __init__(
        self,
        task: Task,
        samples: Sequence[Sample],
        *,
        repeats: int = 1,
        missing_is_error: bool = False,
        verdicts: VerdictBook | None = None,
        clusters: Clusters | None = None,
    ) -> None:
        """`samples`: the task's, each with `repeats` answers. `missing_is_error` where nothing more will come.

        `verdicts`: what the answers are scored with. `clusters`: of the samples, where they are known already.
        """
        self._verdicts = verdicts or VerdictBook()
        self.task = scorable(task)
        self._unavailable = {metric.info.variant: why for metric in task.also if (why := _why_not(metric))}
        self._signs = SignCounter(task.metric)
        compact = Samples.of(samples)
        self._main = _Convention(task.metric, compact, missing_is_error)
        self._also = {
            metric.info.variant: _Convention(metric, compact, missing_is_error) for metric in self.task.also
        }
        self._clusters = clusters
        self._categories: dict[str, list[str]] = {key: [] for key in task.by}
        """Of each sample, by what breakdowns are made."""
        self._names: dict[str, str] = {}
        self._repeats = repeats
        self._taken = 0

    def add(self, answer: Answer) -> None:
        """Take the next answer: of the first sample, then of the next one; those that are missing too."""
        number, repeat = divmod(self._taken, self._repeats)
        self._taken += 1
        if not repeat:
            for key, names in self._categories.items():
                name = _label(answer.sample.metadata.get(key))
                names.append(self._names.setdefault(name, name))
        self._signs.add(answer)
        self._main.add(answer.outcome, number)
        for variant, outcome in answer.also.items():
            self._also[variant].add(outcome, number)

    def results(self) -> TaskResults:
        """The results. Raises `RunError` where a metric's own code fails."""
        info = self.task.metric.info
        clusters = self._clusters or Clusters(self._main.rows.samples, self.task.cluster)
        variants = {
            variant: VariantResults(
                metric_version=each.metric.info.version,
                metric_follows=each.metric.info.follows,
                primary=each.metric.info.primary,
                samples=each.tally.counts(),
                metrics=_estimates(self.task, each.metric, each.rows, clusters),
                by=self._breakdowns(each.metric, each.rows, clusters),
                judge=self._judged_by(each.metric),
            )
            for variant, each in self._also.items()
        }
        variants |= {variant: VariantResults(unavailable=why) for variant, why in self._unavailable.items()}
        return TaskResults(
            version=self.task.version,
            metric=info.name,
            metric_variant=info.variant,
            metric_version=info.version,
            metric_follows=info.follows,
            primary=info.primary,
            samples=self._main.tally.counts(),
            answers=self._signs.signs(),
            metrics=_estimates(self.task, self.task.metric, self._main.rows, clusters),
            by=self._breakdowns(self.task.metric, self._main.rows, clusters),
            variants=variants,
            judge=self._judged_by(self.task.metric),
            answer_score=info.means.get(info.primary),
        )

    def _breakdowns(self, metric: Metric, rows: ScoredRows, clusters: Clusters) -> Breakdown:
        return {
            key: {
                name: _estimates(self.task, metric, part, clusters)
                for name, part in _groups(metric, rows, key, names)
            }
            for key, names in self._categories.items()
        }

    def _judged_by(self, metric: Metric) -> JudgedBy | None:
        prompt = metric.judge_prompt if is_judged(metric) else None
        if prompt is None:
            return None
        judge = self._verdicts.judge
        return JudgedBy(judge.model if judge else None, self._verdicts.label(prompt))


class _Convention:
    """The answers as one metric scored them."""

    def __init__(self, metric: Metric, samples: Samples, missing_is_error: bool) -> None:
        self.metric = metric
        self.rows = ScoredRows(samples)
        self.tally = Tally(missing_is_error)

    def add(self, outcome: Outcome, number: int) -> None:
        self.tally.add(outcome)
        if isinstance(outcome, ScoredSample):
            self.rows.append(number, outcome.repeat, outcome.score)


def _why_not(metric: Metric) -> str | None:
    """Why a metric can't score here; None where it can."""
    try:
        if isinstance(metric, DemandingMetric):
            metric.check()
    except ConfigurationError as error:
        return str(error)
    return None


def _estimates(task: Task, metric: Metric, scored: ScoredRows, clusters: Clusters) -> Metrics:
    if not scored:
        return {}
    from muster.results.flat import best_possible
    from muster.results.statistics import estimate_metrics

    are_means = metric.info.means.keys() >= metric.info.units.keys()
    many = are_means or len(scored) > _AS_OBJECTS
    rows = scored if many else list(scored)
    try:
        with ForeignCode():
            estimates = estimate_metrics(metric, rows, clusters.among(scored.numbers))
    except Exception as error:
        raise RunError(
            f"the metric {metric.info.name} of task {task.name} failed on {len(rows)} answers: "
            f"{type(error).__name__}: {error}. The answers are kept; once it is mended, `muster score` the run."
        ) from error
    units = metric.info.units
    points = best_possible(metric, rows) if POINTS in units.values() else {}
    best = {name: most for name, most in points.items() if units.get(name) == POINTS and math.isfinite(most)}
    return {
        name: MetricResult(
            value=finite(estimate.value),
            stderr=finite(estimate.stderr),
            ci95=None if estimate.ci95 is None else (finite(estimate.ci95[0]), finite(estimate.ci95[1])),
            unit=units.get(name, ""),
            n=len(scored),
            maximum=best.get(name, msgspec.UNSET),
        )
        for name, estimate in estimates.items()
    }


def _groups(metric: Metric, rows: ScoredRows, key: str, names: Sequence[str]) -> list[tuple[str, ScoredRows]]:
    """Rows by category, sorted by it so that the order doesn't depend on what errored. `names`: of each sample."""
    own = metric.categories(rows, key) if isinstance(metric, CategorisingMetric) else None
    found = [names[number] for number in rows.numbers] if own is None else map(_label, own)
    groups: dict[str, array[int]] = {}
    for place, name in enumerate(found):
        groups.setdefault(name, array("Q")).append(place)
    return [(name, rows.chosen(places)) for name, places in sorted(groups.items())]


def _label(value: JSON) -> str:
    if value is None:
        return NO_VALUE
    return valid_text(value) if isinstance(value, str) else msgspec.json.encode(whole(value)).decode()
