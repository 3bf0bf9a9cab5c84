"""From a configuration to what will be asked: tasks, their samples and the settings in force."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from muster.config import RunConfig
from muster.core import ConfigurationError, Generation
from muster.tasks.conventions import scored_by
from muster.tasks.plan import PlannedTask
from muster.tasks.registry import load_tasks
from muster.tasks.selection import select_tasks


def plan(config: RunConfig) -> list[PlannedTask]:
    """Load the tasks and select their samples.

    Raises:
        ConfigurationError: an unknown task, a mistake in its files, a benchmark without samples, a convention that a
            task can't be scored by.
    """
    tasks = [scored_by(task, config.scoring) for task in load_tasks(config.tasks)]
    samples = {task.name: task.source.load() for task in tasks}
    empty = [task for task in tasks if not samples[task.name]]
    if empty:
        raise ConfigurationError(
            "\n".join(f"task {task.name} has no samples ({task.source.description})" for task in empty)
        )
    selected = select_tasks(samples, config.limit, config.sample_ids)
    return [
        PlannedTask(task, selected[task.name], generation(task.generation, config), config.repeats)
        for task in tasks
        if selected[task.name]
    ]


def generation(default: Generation, config: RunConfig) -> Generation:
    """The task's generation settings with what the run overrides."""
    return replace(
        default,
        max_new_tokens=config.max_new_tokens or default.max_new_tokens,
        temperature=default.temperature if config.temperature is None else config.temperature,
        top_p=config.top_p or default.top_p,
        seed=default.seed if config.seed is None else config.seed,
    )


def portable(config: RunConfig, output: Path) -> RunConfig:
    """The configuration with absolute paths, so that the run can be scored again from anywhere."""
    tasks = [str(Path(name).resolve()) if Path(name).is_file() else name for name in config.tasks]
    model = str(Path(config.model).resolve()) if Path(config.model).is_dir() else config.model
    return config.model_copy(update={"tasks": tasks, "model": model, "output": output.resolve()})
