"""What a metric is: pure functions from a sample and a text to numbers, and from many of those to a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from muster.core import Sample
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
    score: Score
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """What users are told about a metric, and what statistics needs to know."""

    name: str
    variant: str
    """Whose convention: `lmms-eval`, `internvl`, `vlmevalkit`, or `muster` for our own."""
    version: int
    primary: str
    """The aggregate that stands for the task in one column."""
    units: Mapping[str, str]
    """Every aggregate's name and its unit: `0-1`, `points`, `percent`."""
    means: Mapping[str, str] = field(default_factory=dict)
    """Aggregates that are the plain mean of a per-answer score: aggregate name to score name. Their standard
    errors are analytic; all others are bootstrapped."""


class Metric(Protocol):
    """Scores one task. Deterministic; no files, no clock, no network."""

    info: MetricInfo

    def score(self, sample: Sample, prediction: str) -> Score:
        """Score one answer; never raises for any text."""
        ...

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """The scores over `rows` (in task order, not empty): one value per name in `info.units`.

        Also called on resamples of the rows (bootstrap) and on the rows of one category (breakdowns).
        """
        ...


@runtime_checkable
class AdditiveMetric(Protocol):
    """What a metric may offer besides: its aggregates as a formula over sums, for a much faster bootstrap.

    Only uncertainty is computed from it; the scores themselves are always `aggregate`'s. On any resample, in
    which a cluster's rows occur several times over, both must agree but for rounding.
    """

    def additive_terms(self, rows: Sequence[ScoredSample]) -> Terms:
        """The terms of `rows` (in task order, not empty)."""
        ...
