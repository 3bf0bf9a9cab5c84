"""What is read of the two numbers: a run's answers to a task, and the rule that scores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from muster.config import load_config
from muster.core import ConfigurationError, RequestKey, Sample
from muster.metrics.protocol import Metric
from muster.planning import plan
from muster.result_files.muster_run import manifest_settings
from muster.results.belonging import changed_since, check_answers_are_there, check_belongs
from muster.results.folder import RunFolder
from muster.results.journal_read import JournalReader
from muster.results.manifest import Manifest
from muster.results.verdicts import VerdictBook
from muster.tasks.definition import Task
from muster.tasks.plan import PlannedTask


@dataclass(frozen=True, slots=True)
class Named:
    """A side as it was typed: `RUN`, or `RUN@VARIANT`."""

    run: Path
    variant: str | None = None

    @property
    def label(self) -> str:
        """For tables."""
        return str(self.run) if self.variant is None else f"{self.run} @ {self.variant}"


@dataclass(frozen=True, slots=True)
class Text:
    """What a model said."""

    text: str
    reasoning: str | None


@dataclass(frozen=True, slots=True)
class Rule:
    """How texts become scores: the task, for what it takes for thoughts, and its metric in one scoring variant."""

    task: Task

    @property
    def metric(self) -> Metric:
        """What scores."""
        return self.task.metric

    @property
    def label(self) -> str:
        """`multiple_choice (lmms-eval) 2`."""
        info = self.metric.info
        return f"{info.name} ({info.variant}) {info.version}"

    def same_as(self, other: Rule) -> bool:
        """Whether both give every text the same score."""
        mine, theirs = self.task, other.task
        return (
            self.label == other.label
            and mine.metric == theirs.metric
            and (mine.thinking, mine.as_toolkit) == (theirs.thinking, theirs.as_toolkit)
        )


@dataclass(frozen=True, slots=True)
class Side:
    """One run, read for one scoring variant."""

    named: Named
    planned: Mapping[str, PlannedTask]
    """By task."""
    settings: Mapping[str, str]
    """How it was made, flat, as comparisons show it."""
    verdicts: VerdictBook

    def rule(self, task: str) -> Rule:
        """How it scores a task."""
        return Rule(self.planned[task].task)

    def texts(self, task: str) -> dict[tuple[str, int], Text]:
        """Its answers to a task, by sample and repeat, in the task's order; those that failed are left out."""
        planned = self.planned[task]
        found: dict[tuple[str, int], Text] = {}
        with JournalReader(RunFolder(self.named.run).journal) as journal:
            for sample in planned.samples:
                for repeat in range(planned.repeats):
                    record = journal.get(RequestKey(task, sample.id, repeat))
                    if record is not None and record.completion.succeeded:
                        completion = record.completion
                        found[sample.id, repeat] = Text(completion.text or "", completion.reasoning)
        return found

    def samples(self, task: str) -> dict[str, Sample]:
        """The task's samples by id."""
        return {sample.id: sample for sample in self.planned[task].samples}


def parse_side(text: str) -> Named:
    """`RUN` or `RUN@VARIANT`. Raises `ConfigurationError` where there is no run folder."""
    whole = Path(text)
    if RunFolder(whole).manifest.is_file():
        return Named(whole)
    run, at, variant = text.rpartition("@")
    if at and run and variant and RunFolder(Path(run)).manifest.is_file():
        return Named(Path(run), variant)
    raise ConfigurationError(
        f"{text}: no run folder (it has no {RunFolder(whole).manifest.name}). Give RUN, or RUN@VARIANT for one of its "
        "task's scoring variants, which `muster tasks NAME` lists"
    )


def read_side(named: Named) -> Side:
    """Read a run. Raises `ConfigurationError` where it or its data can't be had as it was, or lacks the variant."""
    folder = RunFolder(named.run)
    manifest = Manifest.load(folder.manifest)
    check_belongs(folder, manifest.run)
    check_answers_are_there(folder)
    again = {} if named.variant is None else {"scoring": named.variant}
    planned = plan(load_config({**manifest.config, **again}, env={}))
    if changed := changed_since(manifest, planned):
        raise ConfigurationError(
            f"the data of {named.run} was changed since its answers were given, so a difference can't be divided:\n"
            + "\n".join(f"  {line}" for line in changed)
        )
    return Side(
        named,
        {each.task.name: each for each in planned},
        manifest_settings(manifest),
        VerdictBook.load(folder.verdicts),
    )


def common_tasks(sides: Sequence[Side], wanted: Sequence[str]) -> list[str]:
    """The tasks that all runs have, or those named. Raises `ConfigurationError` where there is none."""
    for name in wanted:
        for side in sides:
            if name not in side.planned:
                there = ", ".join(side.planned) or "none"
                raise ConfigurationError(f"{side.named.run} has no task {name}; it has {there}")
    if wanted:
        return list(dict.fromkeys(wanted))
    shared = [name for name in sides[0].planned if all(name in side.planned for side in sides)]
    if not shared:
        lists = "\n".join(f"  {side.named.run}: {', '.join(side.planned) or 'no task'}" for side in sides)
        raise ConfigurationError(f"the runs have no task in common:\n{lists}")
    return shared
