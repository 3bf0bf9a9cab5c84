"""What differs in how runs were made: the usual explanation of a difference, so it is shown first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

ABSENT = "–"


class MadeSomehow(Protocol):
    """A run whose settings are known."""

    @property
    def settings(self) -> Mapping[str, str]:
        """Flat: `model`, `tasks.mme.prompt`."""
        ...


@dataclass(frozen=True, slots=True)
class SettingDifference:
    """One setting that isn't the same in all runs."""

    name: str
    """`model.weights`; `tasks.*.generation.max_new_tokens` where it differs alike in several tasks."""
    values: tuple[str, ...]
    """One per run, in their order."""
    tasks: tuple[str, ...] = ()
    """Which tasks it is about; empty for settings of the whole run."""


def setting_differences(runs: Sequence[MadeSomehow], tasks: Sequence[str]) -> list[SettingDifference]:
    """The settings that differ, those of `tasks` that differ alike in one line.

    Settings that no two runs know are left out; package versions come last.
    """
    names = dict.fromkeys(name for run in runs for name in run.settings)
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name in names:
        task, setting = _of_task(name)
        if task is not None and task not in tasks:
            continue
        values = tuple(run.settings.get(name, ABSENT) for run in runs)
        if len(set(values)) > 1 and sum(value != ABSENT for value in values) > 1:
            alike.setdefault((setting, values), []).extend([] if task is None else [task])
    found = [
        SettingDifference(_named(setting, which), values, tuple(which))
        for (setting, values), which in alike.items()
    ]
    return sorted(found, key=lambda each: each.name.startswith("packages."))


def _of_task(name: str) -> tuple[str | None, str]:
    if not name.startswith("tasks."):
        return None, name
    _, task, setting = name.split(".", 2)
    return task, setting


def _named(setting: str, tasks: Sequence[str]) -> str:
    if not tasks:
        return setting
    return f"tasks.{tasks[0]}.{setting}" if len(tasks) == 1 else f"tasks.*.{setting}"


def as_mapping(
    differences: Sequence[SettingDifference], labels: Sequence[str]
) -> Mapping[str, Mapping[str, str]]:
    """By name, then by run."""
    return {each.name: dict(zip(labels, each.values, strict=True)) for each in differences}
