"""`--scoring`: which scoring variants a task's answers are scored by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from muster.core import ConfigurationError
from muster.metrics.protocol import DemandingMetric, Metric
from muster.metrics.registry import in_variant, variants_of
from muster.metrics.thinking import parse_thinking
from muster.tasks.definition import Task

ALL = "all"


def scored_by(task: Task, scoring: Sequence[str] | None, thinking: Sequence[str] | None = None) -> Task:
    """`task` scored by the scoring variants in `scoring`: the first is the task's, the others stand beside it.

    None leaves the task as it is. `all` is the task's own scoring variant and every other of its metric; those that
    can't score here (no Java, say) are told in the results. One that was asked for by name must be there and able to.
    `thinking`: the tags around thoughts instead of the task's (`parse_thinking`).

    Raises:
        ConfigurationError: the task's metric has no such scoring variant, or it can't score here.
    """
    if thinking:
        task = replace(task, thinking=parse_thinking(thinking))
    if not scoring:
        _check(task, task.metric)
        return task
    if ALL in scoring:
        if len(scoring) > 1:
            raise ConfigurationError(f"--scoring {','.join(scoring)}: `all` stands alone.")
        _check(task, task.metric)
        others = [name for name in variants_of(task.metric) if name != task.metric.info.variant]
        return replace(task, also=tuple(in_variant(task.metric, name) for name in others))
    metrics = [_asked_for(task, name) for name in dict.fromkeys(scoring)]
    return replace(task, metric=metrics[0], also=tuple(metrics[1:]), as_toolkit=True)


def _asked_for(task: Task, variant: str) -> Metric:
    try:
        metric = in_variant(task.metric, variant)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"--scoring {variant}: task {task.name} can't be scored so: {error} Leave the task out, or take "
            f"`--scoring all`, which scores each task by what there is for it."
        ) from error
    _check(task, metric)
    return metric


def _check(task: Task, metric: Metric) -> None:
    if isinstance(metric, DemandingMetric):
        try:
            metric.check()
        except ConfigurationError as error:
            raise ConfigurationError(f"task {task.name}: {error}") from error
