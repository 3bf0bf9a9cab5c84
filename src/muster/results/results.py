"""`results.json`: the scores of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import msgspec

from muster.core import JSON, ConfigurationError, RunError
from muster.core.interruption import check
from muster.core.regular_files import regular
from muster.results.files import write_json

SCHEMA = 1
TOO_MANY_FAILURES = 3
"""Exit code of a complete run with more errored samples than `--max-failures` allows."""


@dataclass(frozen=True, slots=True)
class MetricResult:
    """One score. None where it is not defined (no standard error of a single sample, a NaN)."""

    value: float | None
    """In the metric's own unit, unrounded."""
    stderr: float | None = None
    ci95: tuple[float | None, float | None] | None = None
    unit: str = ""
    n: int = 0
    """Answers that it was computed from."""
    maximum: float | msgspec.UnsetType = msgspec.UNSET
    """Of a score in points: what it would be were all these answers right. Unset, and not written, otherwise."""


def _by_kind() -> dict[str, int]:
    return {}


class SampleCounts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Requests (samples times repeats), and what became of them. What is in none of these is still missing."""

    requested: int
    succeeded: int
    errored: int
    errors: dict[str, int] = msgspec.field(default_factory=_by_kind)  # written even where there are none
    """Errored ones by kind."""
    no_reference: int = 0
    """Answered ones that the benchmark has no reference answer for, so that they have no score; no errors."""
    metric_failures: dict[str, int] = {}
    """Of the errors of kind `metric`, what the metric raised, the most frequent first."""

    @property
    def unscorable(self) -> int:
        """Errored ones that have an answer, on which the metric's own code failed."""
        return self.errors.get("metric", 0)

    @property
    def unscored(self) -> int:
        """Errored ones that have an answer, but no score for want of a judge's verdict."""
        return self.errors.get("unscored", 0)

    @property
    def missing(self) -> int:
        """Neither answered nor failed yet."""
        return self.requested - self.succeeded - self.errored - self.no_reference


@dataclass(frozen=True, slots=True)
class AnswerSigns:
    """What the answers look like that have a text: a score of 0 may come from any of these."""

    texts: int = 0
    """How many there are."""
    unfinished: int = 0
    """Broke off while the model was thinking: scored as empty answers."""
    empty: int = 0
    """Without a word, and without a thought."""
    cut_off: int = 0
    """At the token limit."""
    unread: int = 0
    """The metric found nothing in them that it could compare (a letter, a number, a box)."""
    all_alike: str | None = None
    """What they all say, where it is the same and the right answers are different ones."""


Metrics = dict[str, MetricResult]
Breakdown = dict[str, dict[str, Metrics]]
"""Metadata key, then its value, then metrics."""


@dataclass(frozen=True, slots=True)
class JudgedBy:
    """Whose verdicts the scores of a scoring variant rest on, where it asks a judge."""

    model: str | None
    """None: there was no judge; what would have needed one is unscored."""
    prompt: str
    """Name and version of what it was asked: `muster-mmvet/1`."""


@dataclass(frozen=True, slots=True)
class JudgeResults:
    """The judge of a run and what it used."""

    model: str
    usage: dict[str, float | None] = field(default_factory=dict)
    """Tokens of all its verdicts in the run folder, and their `cost` where prices were given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantResults:
    """The scores of one task by a further scoring variant."""

    metric_version: int = 0
    metric_follows: str = ""
    """The release or commit of the code whose rule this is, in words."""
    primary: str = ""
    samples: SampleCounts | None = None
    """Differs from the task's where this scoring variant leaves other answers unscored."""
    metrics: Metrics = field(default_factory=dict)
    by: Breakdown = field(default_factory=dict)
    unavailable: str | None = None
    """Why there are no scores by this scoring variant here; None where there are."""
    judge: JudgedBy | None = None
    """None where this scoring variant asks no judge."""


@dataclass(frozen=True, slots=True)
class TaskResults:
    """The scores of one task. Errored samples are counted, not scored."""

    version: int
    metric: str
    metric_variant: str
    metric_version: int
    primary: str
    """The metric that stands for the task."""
    samples: SampleCounts
    metrics: Metrics = field(default_factory=dict)
    """Empty where no sample has an answer."""
    by: Breakdown = field(default_factory=dict)
    variants: dict[str, VariantResults] = field(default_factory=dict)
    """By further scoring variants, as far as they were asked for."""
    judge: JudgedBy | None = None
    """None where the metric asks no judge."""
    answers: AnswerSigns = AnswerSigns()
    answer_score: str | None = None
    """The score of one answer whose mean `primary` is, as `samples.parquet` names it; None where it is no mean."""
    metric_follows: str = ""
    """The release or commit of the code whose rule the variant is, in words."""


@dataclass(frozen=True, slots=True)
class GroupResults:
    """The scores of tasks that belong together."""

    tasks: list[str]
    metrics: Metrics = field(default_factory=dict)
    """`macro_mean`, or `delta_knowledge`; empty where the headline scores have different units. `n`: the tasks."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the last attempt was carried out. Decides no score."""

    engine: str
    replicas: int
    gpus_per_replica: int
    parallelism: str
    notes: dict[str, str] = field(default_factory=dict)
    """What the backend said of how the model answers, when it was loaded last: `batching`: `static (REASON)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The scores of a run."""

    schema: int = SCHEMA
    run: str
    name: str = ""
    """What `--name` calls the run; empty where it has no name but its model's."""
    model: str
    model_args: dict[str, JSON] = field(default_factory=dict)
    """What its backend was given with `--model-args`, secrets left out."""
    complete: bool
    """Every request was answered or failed for good."""
    tasks: dict[str, TaskResults]
    groups: dict[str, GroupResults] = field(default_factory=dict)
    """Those of which the run has all tasks."""
    timing: dict[str, float | None] = field(default_factory=dict)
    usage: dict[str, float | None] = field(default_factory=dict)
    """Tokens of all answers, of whatever attempt, and their `cost` where prices were given."""
    layout: Layout | None = None
    judge: JudgeResults | None = None
    """None where nobody was asked."""
    changed: list[str] = field(default_factory=list)
    """What of the data was changed between the answers and these scores, which `muster score` was told to accept."""

    @property
    def label(self) -> str:
        """What tables call the run: its name, or its model."""
        return self.name or self.model

    @property
    def errored(self) -> int:
        """Errored requests of all tasks."""
        return sum(task.samples.errored for task in self.tasks.values())

    @property
    def unscorable(self) -> int:
        """Answers of all tasks on which a metric's own code failed."""
        return sum(task.samples.unscorable for task in self.tasks.values())

    @property
    def unscored(self) -> int:
        """Answers of all tasks that have no score, because a judge would have to be asked or gave no verdict."""
        return sum(task.samples.unscored for task in self.tasks.values())

    def exit_status(self, max_failures: float) -> int:
        """What a run with these results ends with: 0, 1 where they aren't complete, or `TOO_MANY_FAILURES`.

        `max_failures`: how many requests may have errored, or (a float) which share of them.
        """
        if not self.complete:
            return RunError.exit_code
        requested = sum(task.samples.requested for task in self.tasks.values())
        tolerated = max_failures * requested if isinstance(max_failures, float) else max_failures
        return 0 if self.errored <= tolerated else TOO_MANY_FAILURES

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read `results.json`. Raises `ConfigurationError` where there is none, or none that can be read."""
        try:
            results = msgspec.json.decode(regular(path).read_bytes(), type=cls)
        except OSError as error:
            raise ConfigurationError(
                f"{path.parent} has no scores yet: cannot read {path.name} ({error.strerror or error}). "
                f"`muster score {path.parent}` writes them."
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigurationError(
                f"{path} is not a results file that Muster can read ({error}). "
                f"`muster score {path.parent}` writes it again."
            ) from error
        if results.schema > SCHEMA:
            raise ConfigurationError(
                f"{path} was written by a newer Muster (schema {results.schema}, this one reads up to {SCHEMA}). "
                f"Upgrade Muster."
            )
        return results

    def save(self, path: Path) -> None:
        """Write it, atomically. NaN and infinities become null. Not after an interruption that somebody swallowed."""
        check()
        write_json(path, self)


def finite(value: float | None) -> float | None:
    """`value`, or None where it is no number that JSON can hold."""
    return float(value) if value is not None and math.isfinite(value) else None
