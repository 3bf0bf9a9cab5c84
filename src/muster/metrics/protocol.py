"""What a metric is: pure functions from a sample and a text to numbers, and from many of those to a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol, TypeGuard, runtime_checkable

from muster.core import JSON, Message, Sample
from muster.metrics.terms import Terms


@dataclass(frozen=True, slots=True)
class Score:
    """What one answer is worth."""

    scores: Mapping[str, float]
    """By name, e.g. `{"accuracy": 1.0}`. Every answer of a metric has the same names."""
    extracted: str | None = None
    """What the metric read out of the text (a letter, a yes, a number); None where it found nothing."""


@dataclass(frozen=True, slots=True)
class ScoredSample:
    """One scored answer, as aggregation sees it."""

    sample: Sample
    prediction: str
    """Empty in aggregation: what it needs of a text must be in the score."""
    score: Score
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """What users are told about a metric, and what statistics needs to know."""

    name: str
    variant: str
    """Whose rule: `lmms-eval`, `internvl`, `vlmevalkit`, `official` (the authors' own), or `muster` for ours."""
    version: int
    primary: str
    """The aggregate that stands for the task in one column."""
    units: Mapping[str, str]
    """Every aggregate's name and its unit: `0-1`, `points`, `percent`."""
    means: Mapping[str, str] = field(default_factory=dict)
    """Aggregates that are the plain mean of a per-answer score (in `percent`: 100 times it): aggregate name to
    score name. Their standard errors are analytic; all others are bootstrapped."""
    follows: str = ""
    """Which release or commit of the toolkit's or the authors' code the variant follows, in words."""


class UnscoredError(Exception):
    """A scoring variant can't say what an answer is worth without a judge; says why. Never a silent substitute."""


class Metric(Protocol):
    """Scores one task. Deterministic; no files, no clock, no network."""

    @property
    def info(self) -> MetricInfo:
        """What the metric is, and what its scores are."""
        ...

    def score(self, sample: Sample, prediction: str) -> Score:
        """Score one answer; raises for no text, except `UnscoredError`, which leaves the answer without a score."""
        ...

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """The scores over `rows` (in task order, not empty): one value per name in `info.units`.

        Also called on resamples of the rows (bootstrap) and on the rows of one category (breakdowns).
        """
        ...


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What a judge is asked about one answer."""

    prompt: str
    """Which prompt, in which version: `muster-mmvet/1`."""
    messages: tuple[Message, ...]
    max_new_tokens: int
    places: Mapping[str, str] | None = None
    """What its prompt's places are filled with, so that a user's own prompt can ask the same in other words; None: the
    messages were not made from a prompt with places."""


class JudgedMetric(Metric, Protocol):
    """What a metric offers that needs a judge for some answers, or for all: what to ask, and how to read the verdict.

    It asks nobody itself (`muster.judging` does), so it stays a pure function. Its `score` raises `UnscoredError` for
    an answer that has an inquiry.
    """

    @property
    def judge_prompt(self) -> str | None:
        """Name and version of its prompt; None in a variant that never asks."""
        ...

    def inquiry(self, sample: Sample, prediction: str) -> Inquiry | None:
        """What to ask about an answer; None where it can be scored without."""
        ...

    def score_verdict(self, sample: Sample, verdict: str) -> Score:
        """The score that follows from what the judge said. Raises `UnscoredError` where that can't be read."""
        ...


def is_judged(metric: Metric) -> TypeGuard[JudgedMetric]:
    """Whether it may ask a judge; cheap enough to be asked for every answer, unlike `isinstance` with a protocol."""
    return _offers_inquiries(type(metric))


@cache
def _offers_inquiries(kind: type[Metric]) -> bool:
    return all(hasattr(kind, name) for name in ("judge_prompt", "inquiry", "score_verdict"))


class ReferencedMetric(Metric, Protocol):
    """What a metric offers whose references aren't the sample's `answers`, or that needs none."""

    def has_reference(self, sample: Sample) -> bool:
        """Whether there is something to compare an answer with. Without it the sample is left unscored."""
        ...


def has_reference(metric: Metric, sample: Sample) -> bool:
    """Whether `metric` can tell right from wrong for `sample`: it has answers, or what the metric takes for them."""
    return metric.has_reference(sample) if knows_references(metric) else bool(sample.answers)


def knows_references(metric: Metric) -> TypeGuard[ReferencedMetric]:
    """Whether it tells itself what it needs to compare an answer with."""
    return _offers_references(type(metric))


@cache
def _offers_references(kind: type[Metric]) -> bool:
    return hasattr(kind, "has_reference")


@runtime_checkable
class AdditiveMetric(Protocol):
    """What a metric may offer besides: its aggregates as a formula over sums, for a much faster bootstrap.

    Only uncertainty is computed from it; the scores themselves are always `aggregate`'s. On any resample, in
    which a cluster's rows occur several times over, both must agree but for rounding.
    """

    def additive_terms(self, rows: Sequence[ScoredSample]) -> Terms:
        """The terms of `rows` (in task order, not empty)."""
        ...


@runtime_checkable
class CorpusMetric(Protocol):
    """What a metric offers whose scores of one answer depend on all the answers (CIDEr's document frequencies).

    Its `score` only reads the answer; the scores are those of `score_corpus`.
    """

    def score_corpus(self, rows: Sequence[ScoredSample]) -> Sequence[Score]:
        """The score of each of a task's answers, in their order. May need an optional part of Muster, or Java."""
        ...


@runtime_checkable
class WholeTaskMetric(Protocol):
    """What a metric offers that scores all answers together, and knows only then what its scores are called.

    Its `info` is complete when that was done; its `score` only reads the answer.
    """

    def score_all(self, rows: Sequence[ScoredSample]) -> Sequence[Score | Exception]:
        """The score of each of a task's answers, in their order.

        An exception in the place of a score says why this answer has none: `UnscoredError` for want of a judge.
        """
        ...

    def score_names(self, rows: Sequence[ScoredSample]) -> Sequence[str]:
        """The names of the scores of these answers, which are all that there are of the task."""
        ...


@runtime_checkable
class CategorisingMetric(Protocol):
    """What a metric may offer besides: categories for breakdowns that don't stand in the samples' metadata."""

    def categories(self, rows: Sequence[ScoredSample], key: str) -> Sequence[JSON] | None:
        """The value of `key` for each row; None where the metric has nothing to say about that key."""
        ...


@runtime_checkable
class DemandingMetric(Protocol):
    """What a metric offers that needs more than Muster's own dependencies."""

    def check(self) -> None:
        """Raise `ConfigurationError` where this metric can't score here, saying what is missing."""
        ...
