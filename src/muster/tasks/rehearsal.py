"""What scoring will come to, before a model is loaded: references that are missing, metrics that don't fit."""

from __future__ import annotations

from collections.abc import Sequence

from muster.core import ConfigurationError, Sample
from muster.core.foreign_code import ForeignCode
from muster.metrics.declared import undeclared
from muster.metrics.protocol import (
    CorpusMetric,
    Metric,
    ScoredSample,
    WholeTaskMetric,
    has_reference,
    is_judged,
    knows_references,
)
from muster.tasks.definition import Task
from muster.tasks.samples import ANSWERS, FAULT, Samples


def missing_references(task: Task, samples: Sequence[Sample]) -> str | None:
    """What to say where samples have no reference answer; None where all have one."""
    if knows_references(task.metric):
        without = sum(not sample.fault and not has_reference(task.metric, sample) for sample in samples)
    else:
        without = sum(not each & (FAULT | ANSWERS) for each in Samples.of(samples).traits())
    if not without:
        return None
    if without < len(samples):
        return (
            f"task {task.name}: {without} of {len(samples)} samples have no reference answer. They are asked and left "
            "unscored, and are no part of any score"
        )
    return (
        f"task {task.name}: none of its {len(samples)} samples has a reference answer, so there will be no scores. "
        f"The answers will be in samples.parquet; `muster export RUN --to submission --task {task.name}` writes them "
        "as the server of a benchmark with secret references wants them (docs/exports.md). Or have them scored with "
        "references of your own: `muster score --task TASK --predictions FILE --samples FILE`. A metric that needs no "
        "references says so with `has_reference` (docs/metrics.md)"
    )


def rehearse(metric: Metric, samples: Sequence[Sample]) -> None:
    """Score the first sample's reference answer as if it were a model's, and aggregate that.

    Raises `ConfigurationError` where the aggregates aren't those that the metric declares. What it raises itself on
    this one sample is not looked at: it costs a sample its score and no more.
    """
    sample = next(
        (each for each in samples if each.answers and not each.fault and has_reference(metric, each)), None
    )
    if sample is None or is_judged(metric) or isinstance(metric, CorpusMetric | WholeTaskMetric):
        return
    try:
        with ForeignCode():
            values = metric.aggregate([ScoredSample(sample, "", metric.score(sample, sample.answer))])
    except Exception:  # noqa: BLE001 - anybody's code; scoring tells it, with the answers kept
        return
    if problem := undeclared(metric, values):
        raise ConfigurationError(problem)
