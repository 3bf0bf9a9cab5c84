"""Scores one answer: the boundary to a metric's code, which may be a plug-in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from muster.core import Sample
from muster.core.foreign_code import ForeignCode
from muster.metrics.declared import unfit
from muster.metrics.protocol import (
    CorpusMetric,
    Metric,
    Score,
    ScoredSample,
    UnscoredError,
    WholeTaskMetric,
    has_reference,
)
from muster.metrics.thinking import Split
from muster.results.journal_lines import Record
from muster.results.results import SampleCounts
from muster.results.scoring_limits import within_limits
from muster.results.verdicts import VerdictBook
from muster.tasks.definition import Task

MISSING = "missing"
METRIC = "metric"
UNSCORED = "unscored"
NO_REFERENCE = "no reference"
_TOGETHER = (CorpusMetric, WholeTaskMetric)
"""Metrics that score all answers of a task together."""
_REASONS = 5
"""Different things that a metric raised which results tell."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an answer has no score."""

    kind: str
    """A `FailureKind`, `metric` (its code raised), `unscored` (needs a judge), `no reference` (nothing to compare the
    answer with) or `missing` (no answer yet)."""
    message: str


Outcome = ScoredSample | Problem


class Answer(NamedTuple):
    """What became of one request, and what each scoring variant makes of it."""

    task: str
    sample: Sample
    repeat: int
    outcome: Outcome
    """By the task's scoring variant."""
    also: Mapping[str, Outcome]
    """By further scoring variants."""
    record: Record | None = None
    split: Split | None = None
    """The text, divided into thought and answer by the task's rule; None without a text."""

    @property
    def unfinished(self) -> bool:
        """Whether it broke off while the model was thinking: there is a text, or a thought, and no answer."""
        return self.split is not None and not self.split.finished

    @property
    def scored(self) -> ScoredSample | None:
        """By the task's scoring variant."""
        return self.outcome if isinstance(self.outcome, ScoredSample) else None

    @property
    def problem(self) -> Problem | None:
        """Why there is no score by the task's scoring variant."""
        return self.outcome if isinstance(self.outcome, Problem) else None


def scores_of(outcome: Outcome) -> Mapping[str, float]:
    """By name; empty without a score."""
    return outcome.score.scores if isinstance(outcome, ScoredSample) else {}


@dataclass(slots=True)
class Tally:
    """Counts answers by what became of them. `missing_is_error` where nothing more will come."""

    missing_is_error: bool = False
    requested: int = 0
    succeeded: int = 0
    no_reference: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    """What the metric raised, by its first line."""

    def add(self, outcome: Outcome) -> None:
        """Count one answer."""
        self.requested += 1
        if isinstance(outcome, ScoredSample):
            self.succeeded += 1
        elif outcome.kind == NO_REFERENCE:
            self.no_reference += 1
        elif outcome.kind != MISSING or self.missing_is_error:
            self.errors[outcome.kind] += 1
            if outcome.kind == METRIC:
                self.failures[outcome.message.partition("\n")[0]] += 1

    def counts(self) -> SampleCounts:
        """The counts so far."""
        return SampleCounts(
            requested=self.requested,
            succeeded=self.succeeded,
            errored=self.errors.total(),
            errors=dict(sorted(self.errors.items())),
            no_reference=self.no_reference,
            metric_failures=dict(
                sorted(self.failures.items(), key=lambda each: (-each[1], each[0]))[:_REASONS]
            ),
        )


def score_record(
    task: Task, sample: Sample, repeat: int, record: Record | None, verdicts: VerdictBook
) -> Answer:
    """Score what the journal holds for a request."""
    if record is None:
        return without_answer(task, sample, repeat, Problem(MISSING, "not answered yet"))
    failure = record.completion.failure
    if failure is not None:
        problem = Problem(failure.kind, f"{failure.type}: {failure.message}")
        return without_answer(task, sample, repeat, problem, record)
    return score_answer(task, sample, repeat, record.completion.text or "", verdicts, record)


def score_answer(
    task: Task, sample: Sample, repeat: int, text: str, verdicts: VerdictBook, record: Record | None = None
) -> Answer:
    """Score one text by each of the task's scoring variants: its answer, without what the model thought before it."""
    split = divide(task, text, record.completion.reasoning if record else None)
    outcome = score_text(task.metric, sample, repeat, task.scored_text(task.metric, split, text), verdicts)
    also = {
        metric.info.variant: score_text(
            metric, sample, repeat, task.scored_text(metric, split, text), verdicts
        )
        for metric in task.also
    }
    return Answer(task.name, sample, repeat, outcome, also, record, split)


def divide(task: Task, text: str, reasoning: str | None) -> Split:
    """`text` by the task's rule; an empty one is unfinished where there is `reasoning` instead."""
    split = task.thinking.split(text)
    if reasoning and reasoning.strip() and not text.strip():
        return Split("", reasoning, finished=False)
    return split._replace(thought=reasoning) if reasoning and not split.thought else split


def without_answer(
    task: Task, sample: Sample, repeat: int, problem: Problem, record: Record | None = None
) -> Answer:
    """A request without a text, whatever the scoring variant."""
    return Answer(
        task.name, sample, repeat, problem, {metric.info.variant: problem for metric in task.also}, record
    )


def score_text(metric: Metric, sample: Sample, repeat: int, text: str, verdicts: VerdictBook) -> Outcome:
    """Score one text; a metric that raises makes it a problem of that sample."""
    if sample.fault:
        return Problem("sample", sample.fault)
    try:
        with ForeignCode():
            if not has_reference(metric, sample):
                return Problem(NO_REFERENCE, "the sample has no reference answer to compare this one with")
            with within_limits(text):
                score: object = verdicts.score(metric, sample, text)  # a plug-in may give anything
        if not isinstance(score, Score):
            return Problem(
                METRIC, f"metric {metric.info.name} gave a {type(score).__name__} instead of a Score"
            )
        if problem := unfit(metric, score):
            return Problem(METRIC, problem)
        return ScoredSample(sample, text, score, repeat)
    except UnscoredError as error:
        return Problem(UNSCORED, f"{metric.info.name} ({metric.info.variant}): {error}")
    except Exception as error:  # noqa: BLE001  # a plug-in's code; recorded on the sample
        return Problem(METRIC, f"metric {metric.info.name} raised {type(error).__name__}: {error}")


def with_corpus_scores(task: Task, answers: Iterator[Answer]) -> Iterable[Answer]:
    """The answers with the scores of those metrics that score all answers together. Holds them all only then."""
    if not any(isinstance(metric, _TOGETHER) for metric in (task.metric, *task.also)):
        return answers
    listed = list(answers)
    main = _together(task.metric, [answer.outcome for answer in listed])
    also = {
        metric.info.variant: _together(metric, [answer.also[metric.info.variant] for answer in listed])
        for metric in task.also
    }
    return [
        answer._replace(
            outcome=outcome, also={variant: outcomes[number] for variant, outcomes in also.items()}
        )
        for number, (answer, outcome) in enumerate(zip(listed, main, strict=True))
    ]


def names_of_all(metric: WholeTaskMetric, answers: Iterable[Answer]) -> list[str]:
    """The names of an answer's scores where only scoring all of them tells; none where that fails, as is told later."""
    rows = [answer.outcome for answer in answers if isinstance(answer.outcome, ScoredSample)]
    if not rows:
        return []
    try:
        with ForeignCode():
            return list(metric.score_names(rows))
    except Exception:  # noqa: BLE001 - recorded on the samples, when they are scored
        return []


def _together(metric: Metric, outcomes: list[Outcome]) -> list[Outcome]:
    rows = [outcome for outcome in outcomes if isinstance(outcome, ScoredSample)]
    if not rows or not isinstance(metric, _TOGETHER):
        return outcomes
    try:
        with ForeignCode():
            scores: Iterator[Score | Exception] = iter(
                metric.score_all(rows) if isinstance(metric, WholeTaskMetric) else metric.score_corpus(rows)
            )
    except Exception as error:  # noqa: BLE001  # Java, or a plug-in's code; recorded on the samples
        problem = Problem(METRIC, f"metric {metric.info.name} raised {type(error).__name__}: {error}")
        return [problem if isinstance(outcome, ScoredSample) else outcome for outcome in outcomes]
    return [
        _with_score(metric, outcome, next(scores)) if isinstance(outcome, ScoredSample) else outcome
        for outcome in outcomes
    ]


def _with_score(metric: Metric, outcome: ScoredSample, score: Score | Exception) -> Outcome:
    """The outcome with the score that all answers together gave it, or what kept it from having one."""
    if isinstance(score, UnscoredError):
        return Problem(UNSCORED, f"{metric.info.name} ({metric.info.variant}): {score}")
    if isinstance(score, Exception):
        return Problem(METRIC, f"metric {metric.info.name} raised {type(score).__name__}: {score}")
    return replace(outcome, score=score)
