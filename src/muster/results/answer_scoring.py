"""Scores one answer: the boundary to a metric's code, which may be a plug-in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from muster.core import Sample
from muster.metrics.protocol import Metric, ScoredSample
from muster.results.journal_lines import Record
from muster.results.results import SampleCounts

MISSING = "missing"
METRIC = "metric"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an answer has no score."""

    kind: str
    """A `FailureKind`, `metric` (its code raised) or `missing` (no answer yet)."""
    message: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request: a score or a problem, never both."""

    task: str
    sample: Sample
    repeat: int
    record: Record | None = None
    scored: ScoredSample | None = None
    problem: Problem | None = None

    @property
    def scores(self) -> Mapping[str, float]:
        """By name; empty without a score."""
        return self.scored.score.scores if self.scored else {}


@dataclass(slots=True)
class Tally:
    """Counts answers by what became of them. `missing_is_error` where nothing more will come."""

    missing_is_error: bool = False
    requested: int = 0
    succeeded: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def add(self, answer: Answer) -> None:
        """Count one answer."""
        self.requested += 1
        if answer.problem is None:
            self.succeeded += 1
        elif answer.problem.kind != MISSING or self.missing_is_error:
            self.errors[answer.problem.kind] += 1

    def counts(self) -> SampleCounts:
        """The counts so far."""
        return SampleCounts(
            requested=self.requested,
            succeeded=self.succeeded,
            errored=self.errors.total(),
            errors=dict(sorted(self.errors.items())),
        )


def score_record(task: str, metric: Metric, sample: Sample, repeat: int, record: Record | None) -> Answer:
    """Score what the journal holds for a request."""
    if record is None:
        return Answer(task, sample, repeat, problem=Problem(MISSING, "not answered yet"))
    failure = record.completion.failure
    if failure is not None:
        problem = Problem(failure.kind, f"{failure.type}: {failure.message}")
        return Answer(task, sample, repeat, record, problem=problem)
    scored = score_text(metric, sample, repeat, record.completion.text or "")
    if isinstance(scored, Problem):
        return Answer(task, sample, repeat, record, problem=scored)
    return Answer(task, sample, repeat, record, scored)


def score_text(metric: Metric, sample: Sample, repeat: int, text: str) -> ScoredSample | Problem:
    """Score one text; a metric that raises makes it a problem of that sample."""
    try:
        return ScoredSample(sample, text, metric.score(sample, text), repeat)
    except Exception as error:  # noqa: BLE001  # a plug-in's code; recorded on the sample
        return Problem(METRIC, f"metric {metric.info.name} raised {type(error).__name__}: {error}")
