"""Breakdowns that were asked for besides those that the tasks name: `muster score RUN --by category`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from muster.core import ConfigurationError, Sample
from muster.core.text import did_you_mean
from muster.metrics.protocol import CategorisingMetric
from muster.tasks.definition import Task


def with_breakdowns(asked: Sequence[tuple[Task, Sequence[Sample]]], keys: Sequence[str]) -> list[Task]:
    """The tasks, each broken down by those of `keys` that its samples have, too.

    Raises `ConfigurationError` for a key that no sample has; lists those there are.
    """
    known = {task.name: _keys(samples) for task, samples in asked}
    tasks = []
    for task, _ in asked:
        more = [key for key in keys if key not in task.by and _has(task, key, known[task.name])]
        tasks.append(replace(task, by=(*task.by, *more)))
    for key in keys:
        if not any(key in task.by for task in tasks):
            raise ConfigurationError(_unknown(key, known))
    return tasks


def _keys(samples: Sequence[Sample]) -> list[str]:
    return list(dict.fromkeys(key for sample in samples for key in sample.metadata))


def _has(task: Task, key: str, known: Sequence[str]) -> bool:
    """Whether there are values of `key`: in the samples' metadata, or from the metric itself."""
    if key in known:
        return True
    return isinstance(task.metric, CategorisingMetric) and task.metric.categories([], key) is not None


def _unknown(key: str, known: Mapping[str, Sequence[str]]) -> str:
    every = list(dict.fromkeys(name for names in known.values() for name in names))
    there = f"there are: {', '.join(every)}" if every else "the samples have no metadata"
    return f"--by {key}: no sample has it in its metadata{did_you_mean(key, every)} ({there})"
