"""From a configuration to what will be asked: tasks, their samples and the settings in force."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from muster.config import RunConfig
from muster.core import ConfigurationError, Generation, Sample
from muster.core.phases import phase
from muster.models.family import model_family
from muster.tasks.definition import Task
from muster.tasks.generation_variants import in_generation_variant
from muster.tasks.image_settings import with_image_options
from muster.tasks.plan import PlannedTask
from muster.tasks.registry import absolute_name, load_tasks, own_groups
from muster.tasks.rehearsal import missing_references, rehearse
from muster.tasks.scoring_variants import scored_by
from muster.tasks.selection import select_tasks
from muster.tasks.sources.data_folders import DataFolders
from muster.tasks.sources.mapped import MappedSource
from muster.tasks.splits import choose_splits
from muster.tasks.variants import choose_prompts
from muster.tasks.video_settings import overridden
from muster.toolkits.options import ToolkitOptions, toolkit_of

log = logging.getLogger(__name__)


def plan(config: RunConfig, family: Callable[[], str | None] | None = None) -> list[PlannedTask]:
    """Load the tasks and select their samples.

    `family` says the model's family where that is known otherwise than from its files.

    Raises:
        ConfigurationError: an unknown task, a mistake in its files, a benchmark without samples, a scoring variant that
            a task can't be scored by, video or image settings that make no sense.
    """
    tasks = choose_prompts(
        choose_splits(
            load_tasks(config.tasks, DataFolders.parse(config.data), toolkit_options(config)), config.split
        ),
        config.prompt_variant,
        family or cache(partial(_family, config.model)),
    )
    tasks = [scored_by(task, config.scoring, config.thinking) for task in tasks]
    samples = {task.name: _load(task, config) for task in tasks}
    empty = [task for task in tasks if not samples[task.name]]
    if empty:
        raise ConfigurationError(
            "\n".join(
                f"task {task.name} has no samples ({task.source.description}){_why(task)}" for task in empty
            )
        )
    for task in tasks:
        if not _only_first(config):
            _warn_of_other_data(task, len(samples[task.name]))
        for metric in (task.metric, *task.also):
            rehearse(metric, samples[task.name])
    selected = select_tasks(samples, config.limit, config.sample_ids)
    planned = [
        PlannedTask(
            task,
            selected[task.name],
            generation(in_generation_variant(task.name, task.generation, config.generation_variant), config),
            repeats_of(task, config),
            overridden(task.video, config.video),
            with_image_options(task.image, config.image),
        )
        for task in tasks
        if selected[task.name]
    ]
    for each in planned:
        if said := missing_references(each.task, each.samples):
            log.warning("%s", said)
    talking = [each.task.name for each in planned if each.has_dialogues or each.task.rounds is not None]
    if config.collect == "gather" and talking:
        raise ConfigurationError(
            f"--collect gather: the later turns of {', '.join(talking)} need the answers to the earlier ones, which "
            "--collect gather keeps with the workers; leave it out"
        )
    return planned


def check_likelihoods(planned: Sequence[PlannedTask], backend: object, name: str, *, divided: bool) -> None:
    """Raise `ConfigurationError` where a task asks how likely texts are and the backend can't say."""
    asking = [each.task.name for each in planned if each.task.likelihoods]
    # An engine divides a model by itself; with transformers its ranks would have to be led together.
    if asking and divided and not getattr(backend, "starts_processes", False):
        raise ConfigurationError(
            f"{', '.join(asking)}: asks how likely each option is after the prompt, which replicas of --parallelism "
            "tensor can't say: leave it out"
        )
    if asking and not getattr(backend, "likelihoods", False):
        raise ConfigurationError(
            f"{', '.join(asking)}: asks how likely each option is after the prompt, which the backend {name} can't "
            "say; --backend transformers and vllm can. Where the task has a form that is answered in text, that one "
            "runs with any backend (docs/other-catalogues.md, What isn't run)"
        )


def _family(model: str) -> str | None:
    """A toolkit's model is known by the toolkit's name for it alone."""
    return None if toolkit_of(model) else model_family(model)


def _load(task: Task, config: RunConfig) -> Sequence[Sample]:
    """The samples of a task: where few are wanted, no more than those where its source can do that."""
    first = _only_first(config)
    with phase(f"reading {task.name}", "rows"):
        if first is None or not isinstance(task.source, MappedSource):
            return task.source.load()
        return task.source.load(first)


def _only_first(config: RunConfig) -> int | None:
    """How many samples of each task will do: `--limit` as a number, without ids that may be anywhere."""
    return config.limit if isinstance(config.limit, int) and config.sample_ids is None else None


def _why(task: Task) -> str:
    why = task.source.nothing_kept if isinstance(task.source, MappedSource) else None
    return f": {why}" if why else ""


def _warn_of_other_data(task: Task, count: int) -> None:
    expected = task.source.expected_rows if isinstance(task.source, MappedSource) else None
    if expected is not None and expected != count:
        log.warning(
            "task %s: %d samples, where the task file says %d: scores won't compare with others' (muster tasks check)",
            task.name,
            count,
            expected,
        )


def groups_of(planned: Sequence[PlannedTask]) -> dict[str, list[str]]:
    """The groups of at least two tasks of which all are planned: Muster's own tasks, and those of this run."""
    if len(planned) < 2:
        return {}  # without a look at the catalogue
    members = {name: set(tasks) for name, tasks in own_groups().items()}
    for each in planned:
        for group in each.task.groups:
            members.setdefault(group, set()).add(each.task.name)
    names = [each.task.name for each in planned]
    return {
        group: [name for name in names if name in tasks]
        for group, tasks in sorted(members.items())
        if len(tasks) > 1 and tasks.issubset(names)
    }


def generation(default: Generation, config: RunConfig) -> Generation:
    """The task's generation settings with what the run overrides."""
    return replace(
        default,
        max_new_tokens=config.max_new_tokens or default.max_new_tokens,
        temperature=default.temperature if config.temperature is None else config.temperature,
        top_p=config.top_p or default.top_p,
        seed=default.seed if config.seed is None else config.seed,
    )


def repeats_of(task: Task, config: RunConfig) -> int:
    """How often each sample is asked. Raises `ConfigurationError` where run and benchmark both say several times."""
    if task.repeats > 1 and config.repeats > 1:
        raise ConfigurationError(
            f"--repeats {config.repeats}: {task.name} asks each question {task.repeats} times itself; leave it out"
        )
    return max(task.repeats, config.repeats)


def toolkit_options(config: RunConfig) -> ToolkitOptions:
    """What the run says of other toolkits, and for what it doesn't say, the environment."""
    usual = ToolkitOptions.of_environment()
    return ToolkitOptions(
        lmms_eval_python=config.lmms_eval_python or usual.lmms_eval_python,
        lmms_eval_model=config.lmms_eval_model or usual.lmms_eval_model,
        include_path=tuple(config.include_path) or usual.include_path,
        vlmevalkit_python=config.vlmevalkit_python or usual.vlmevalkit_python,
        vlmevalkit_path=config.vlmevalkit_path or usual.vlmevalkit_path,
        limit=config.limit,
        sample_ids=None if config.sample_ids is None else tuple(config.sample_ids),
    )


def portable(config: RunConfig, output: Path, planned: Sequence[PlannedTask]) -> RunConfig:
    """The configuration with absolute paths and the prompts that were chosen.

    So the run can be scored again from anywhere, and without its model.
    """
    tasks = [absolute_name(name) for name in config.tasks]
    model = str(Path(config.model).resolve()) if Path(config.model).is_dir() else config.model
    folders = DataFolders.parse(config.data)
    return config.model_copy(
        update={
            "tasks": tasks,
            "model": model,
            "output": output.resolve(),
            "data": [str(folders.root), *(f"{task}={folder}" for task, folder in folders.tasks.items())],
            "prompt_variant": [
                f"{each.task.name}={each.task.variant}" for each in planned if each.task.variants
            ],
        }
    )
