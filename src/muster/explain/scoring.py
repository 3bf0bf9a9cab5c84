"""Scores with the reading of one rule, the scoring of another and the aggregation of a third."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from muster.core import RunError, Sample
from muster.core.foreign_code import ForeignCode
from muster.explain.sides import Rule, Text
from muster.metrics.protocol import Metric, ScoredSample
from muster.results.answer_scoring import Answer, Outcome, divide, score_text, with_corpus_scores
from muster.results.verdicts import VerdictBook

Key = tuple[str, int]
"""A sample's id and the repeat."""


@dataclass(frozen=True, slots=True)
class Answers:
    """One run's answers to the samples that count, in the task's order."""

    samples: Sequence[tuple[Key, Sample]]
    texts: Mapping[Key, Text]
    verdicts: VerdictBook


def scored(answers: Answers, reading: Rule, scoring: Rule) -> list[Outcome]:
    """Each answer's score. Where `reading` is another rule, `scoring` sees what that one extracted, as the answer."""
    outcomes = [
        _scored(sample, key[1], answers.texts[key], reading, scoring, answers.verdicts)
        for key, sample in answers.samples
    ]
    alone = replace(scoring.task, also=())
    listed = (
        Answer(alone.name, sample, key[1], outcome, {})
        for (key, sample), outcome in zip(answers.samples, outcomes, strict=True)
    )
    return [answer.outcome for answer in with_corpus_scores(alone, listed)]


def _scored(
    sample: Sample, repeat: int, said: Text, reading: Rule, scoring: Rule, verdicts: VerdictBook
) -> Outcome:
    split = divide(reading.task, said.text, said.reasoning)
    text = reading.task.scored_text(reading.metric, split, said.text)
    first = score_text(reading.metric, sample, repeat, text, verdicts)
    if reading is scoring or not isinstance(first, ScoredSample):
        return first
    return score_text(scoring.metric, sample, repeat, first.score.extracted or "", verdicts)


def aggregated(outcomes: Sequence[Outcome], metric: Metric) -> float:
    """The headline number of a metric over those that have a score; percentages as fractions. NaN of none.

    Raises `RunError` where the metric's own code fails.
    """
    rows = [replace(each, prediction="") for each in outcomes if isinstance(each, ScoredSample)]
    if not rows:
        return float("nan")
    info = metric.info
    try:
        with ForeignCode():
            value = float(metric.aggregate(rows)[info.primary])
    except Exception as error:
        raise RunError(
            f"the metric {info.name} ({info.variant}) failed on {len(rows)} answers: {type(error).__name__}: {error}"
        ) from error
    return value / 100 if info.units.get(info.primary) == "percent" else value


def unit_of(metric: Metric) -> str:
    """Of the headline number, percentages as fractions."""
    unit = metric.info.units.get(metric.info.primary, "")
    return "0-1" if unit == "percent" else unit


def score_names(outcomes: Sequence[Outcome]) -> frozenset[str]:
    """The names of an answer's scores, which all answers share; empty where none has a score."""
    first = next((each for each in outcomes if isinstance(each, ScoredSample)), None)
    return frozenset(first.score.scores) if first else frozenset()


def mean_of(metric: Metric) -> str | None:
    """The per-answer score whose plain mean the headline number is; None where it is something else."""
    return metric.info.means.get(metric.info.primary)
