"""Which of a task's prompts is used: the one that is asked for, or the one for the model's family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from muster.core import ConfigurationError
from muster.core.text import did_you_mean
from muster.tasks.definition import Task

DEFAULT_VARIANT = "default"
"""The prompt itself."""


def choose_prompts(
    tasks: Sequence[Task], requested: Sequence[str], family: Callable[[], str | None]
) -> list[Task]:
    """The tasks with the prompt that is in force.

    `requested` are variants for all tasks (`NAME`) or for one (`TASK=NAME`). Without, a task that names the model's
    `family` (the `model_type` of its config.json, exactly) has that family's variant; `family` is only called for
    such tasks.

    Raises:
        ConfigurationError: a task hasn't got the variant that is asked for, or there is no such task.
    """
    for_all: str | None = None
    for_one: dict[str, str] = {}
    names = {task.name for task in tasks}
    for text in requested:
        task_name, equals, variant = text.rpartition("=")
        if not equals:
            for_all = variant
        elif task_name in names:
            for_one[task_name] = variant
        else:
            raise ConfigurationError(f"--prompt-variant {text}: {task_name!r} isn't a task of this run")
    problems: list[str] = []
    chosen: list[Task] = []
    for task in tasks:
        wanted = for_one.get(task.name, for_all)
        if wanted is None:
            known = family() if task.families else None
            wanted = task.families.get(known, DEFAULT_VARIANT) if known else DEFAULT_VARIANT
        if wanted != DEFAULT_VARIANT and wanted not in task.variants:
            problems.append(_unknown(task, wanted))
            continue
        chosen.append(_with(task, wanted))
    if problems:
        raise ConfigurationError("\n".join(problems))
    return chosen


def _with(task: Task, variant: str) -> Task:
    return replace(task, prompt=task.variants.get(variant, task.prompt), variant=variant)


def _unknown(task: Task, variant: str) -> str:
    known = [DEFAULT_VARIANT, *task.variants]
    return (
        f"--prompt-variant {variant}: task {task.name} has no such prompt{did_you_mean(variant, known)} (it has "
        f"{', '.join(known)}); TASK=NAME chooses for one task"
    )
