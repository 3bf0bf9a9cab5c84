"""Another split of a benchmark than the one its task names: `--split test`, for answers that a server scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from muster.core import ConfigurationError
from muster.tasks.definition import Task
from muster.tasks.sources.huggingface import HubRows
from muster.tasks.sources.mapped import MappedSource


def choose_splits(tasks: Sequence[Task], requested: Sequence[str]) -> list[Task]:
    """The tasks, reading the splits that are asked for.

    `requested` are splits for all tasks (`NAME`) or for one (`TASK=NAME`). How many samples another split should have
    isn't known, so nothing is said of their number.
    Raises `ConfigurationError` for a task that isn't of the Hugging Face hub, and so has no splits.
    """
    for_all: str | None = None
    for_one: dict[str, str] = {}
    names = {task.name for task in tasks}
    for text in requested:
        name, equals, split = text.rpartition("=")
        if equals and name not in names:
            raise ConfigurationError(f"--split {text}: {name!r} isn't a task of this run")
        if equals:
            for_one[name] = split
        else:
            for_all = split
    wanted = {task.name: for_one.get(task.name, for_all) for task in tasks}
    return [_reading(task, wanted[task.name]) for task in tasks]


def _reading(task: Task, split: str | None) -> Task:
    source = task.source
    if not split:
        return task
    if not isinstance(source, MappedSource) or not isinstance(source.origin, HubRows):
        raise ConfigurationError(
            f"--split {split}: task {task.name} reads {source.description}, and only datasets of the Hugging Face hub "
            "have splits; TASK=SPLIT chooses for one task"
        )
    if source.origin.splits == (split,):
        return task
    before = source.origin.splits
    joins = [
        replace(join, origin=replace(join.origin, splits=(split,)))
        if isinstance(join.origin, HubRows) and join.origin.splits == before
        else join
        for join in source.joins
    ]
    origin = replace(source.origin, splits=(split,))
    return replace(task, source=replace(source, origin=origin, joins=joins, expected_rows=None))
