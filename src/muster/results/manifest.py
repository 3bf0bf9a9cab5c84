"""What a run was asked to do, and with what: enough to resume it, score it again and reproduce it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import msgspec

from muster.core import JSON, ConfigurationError, RequestKey
from muster.core.regular_files import regular
from muster.results.environment import describe_hardware, package_versions
from muster.results.files import write_json
from muster.results.fingerprint import differences, digest_of, model_fingerprint, own_code, task_fingerprint
from muster.results.redaction import redact_command, redact_settings, redact_text
from muster.tasks.plan import PlannedTask

SCHEMA = 1
_ALIKE = 3
"""Tasks, or values of one setting, that are named one by one where the folder of a run is refused."""


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """One task as it was asked."""

    fingerprint: dict[str, JSON]
    """Version, prompt, data and generation settings: what decides the answers."""
    metric: str
    metric_variant: str
    metric_version: int
    samples: int
    repeats: int
    requested: int
    """Samples times repeats."""
    sample_ids: str
    """Digest of the ids, in order."""
    source: str = ""
    """Where the data came from, in words: dataset, split, revision."""

    @classmethod
    def of(cls, planned: PlannedTask) -> Self:
        """The entry of a planned task."""
        info = planned.task.metric.info
        return cls(
            fingerprint=task_fingerprint(planned.task, planned.generation, planned.shown, planned.opened),
            metric=info.name,
            metric_variant=info.variant,
            metric_version=info.version,
            samples=len(planned.samples),
            repeats=planned.repeats,
            requested=len(planned.samples) * planned.repeats,
            sample_ids=digest_of(planned.compact.ids()),
            source=planned.task.source.description,
        )


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of the run. `ended` stays None when it was killed."""

    started: float
    """Unix seconds."""
    engine: str
    world_size: int
    """Replicas."""
    command: list[str] = field(default_factory=list)
    ended: float | None = None
    exit_status: int | None = None
    gpus_per_replica: int = 1
    parallelism: str = "device-map"
    """How a replica's GPUs share the model, where it has several."""
    videos: str = ""
    """How the model got videos, where it was loaded and its backend says so: `video`, or `frames` as images."""
    notes: dict[str, str] | None = None
    """What its backend said of how it answers: `batching`: `static (its cache is a …)`. None: it was not loaded."""

    def described(self) -> str:
        """`engine local: 4 replicas of 2 GPUs (tensor)`."""
        each = f" of {self.gpus_per_replica} GPUs ({self.parallelism})" if self.gpus_per_replica > 1 else ""
        return f"engine {self.engine}: {self.world_size} replica{'s' if self.world_size > 1 else ''}{each}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """`manifest.json`. Holds no secrets."""

    schema: int = SCHEMA
    run: str
    """The run's id."""
    model: str
    config: dict[str, JSON]
    """The configuration, secrets redacted."""
    fingerprint: dict[str, JSON]
    """The model's."""
    tasks: dict[str, TaskEntry]
    muster: str
    """Version of Muster that started the run."""
    created: float
    """Unix seconds."""
    packages: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, JSON] = field(default_factory=dict)
    """The coordinator's."""
    attempts: tuple[Attempt, ...] = ()

    @property
    def name(self) -> str:
        """What the run is called; empty where it has no name but its model's."""
        return str(self.config.get("name") or "")

    @property
    def label(self) -> str:
        """What tables call the run: its name, or its model."""
        return self.name or self.model

    @property
    def model_args(self) -> dict[str, JSON]:
        """What the backend was given, secrets left out."""
        args = self.config.get("model_args")
        return args if isinstance(args, dict) else {}

    @classmethod
    def describe(
        cls,
        *,
        run: str,
        model: str,
        backend: str,
        model_args: Mapping[str, JSON],
        config: Mapping[str, JSON],
        planned: Sequence[PlannedTask],
        served_by: Mapping[str, JSON] | None = None,
    ) -> Self:
        """The manifest of a run that starts now, on this machine. `served_by`: see `model_fingerprint`."""
        packages = package_versions()
        return cls(
            run=run,
            model=redact_text(model),
            config=redact_settings(config),
            fingerprint=model_fingerprint(model, backend, model_args, served_by) | own_code(backend),
            tasks={each.task.name: TaskEntry.of(each) for each in planned},
            muster=packages.get("muster-eval", ""),
            created=time.time(),
            packages=packages,
            hardware=describe_hardware(),
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a manifest. Raises `ConfigurationError` where there is none, or none that can be read."""
        try:
            content = regular(path).read_bytes()
        except OSError as error:
            raise ConfigurationError(
                f"{path.parent} is not a run folder: cannot read {path.name} ({error.strerror or error})"
            ) from error
        try:
            schema = msgspec.json.decode(content, type=_Versioned).schema
            if schema > SCHEMA:
                raise ConfigurationError(
                    f"{path} was written by a newer Muster (schema {schema}, this one reads up to {SCHEMA}). "
                    f"Upgrade Muster, or choose another folder with --output."
                )
            return msgspec.json.decode(content, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigurationError(f"{path} is not a manifest that Muster can read: {error}") from error

    def save(self, path: Path) -> None:
        """Write it, atomically."""
        write_json(path, self)

    def resumed_from(self, old: Manifest) -> Self:
        """This manifest as the continuation of `old`: same run, same creation, its attempts kept."""
        return replace(self, run=old.run, created=old.created, attempts=old.attempts)

    def with_attempt(self, attempt: Attempt) -> Self:
        """With one more attempt, its command without secrets."""
        command = redact_command(attempt.command)
        return replace(self, attempts=(*self.attempts, replace(attempt, command=command)))

    def with_found(self, videos: str, notes: Mapping[str, str] | None) -> Self:
        """With what the last attempt found out about the model."""
        found = replace(self.attempts[-1], videos=videos, notes=None if notes is None else dict(notes))
        return replace(self, attempts=(*self.attempts[:-1], found))

    def with_attempt_ended(self, ended: float, exit_status: int) -> Self:
        """With the last attempt's end."""
        last = replace(self.attempts[-1], ended=ended, exit_status=exit_status)
        return replace(self, attempts=(*self.attempts[:-1], last))


class _Versioned(msgspec.Struct):
    schema: int = 0


def check_resumable(old: Manifest, new: Manifest) -> None:
    """Raise `ConfigurationError`, showing what differs, unless `new` may go on in the folder of `old`.

    It may add tasks and raise the limit or the repeats. World size, GPUs per replica, engine, schedule, batch size and
    time-outs may differ freely.
    """
    lines = [
        *differences({"model": old.fingerprint}, {"model": new.fingerprint}),
        *_of_all_tasks(
            {name: _task_changes(entry, new.tasks.get(name)) for name, entry in old.tasks.items()}
        ),
    ]
    if lines:
        raise ConfigurationError(
            "the run folder holds answers of a different run:\n"
            + "\n".join(f"  {line}" for line in lines)
            + "\nChoose another folder with --output, or use the settings that the folder was started with."
        )


def check_covered(keys: Iterable[RequestKey], planned: Sequence[PlannedTask]) -> None:
    """Raise `ConfigurationError` when the folder holds answers (`keys`) that the plan doesn't ask for."""
    asked = asked_keys(planned)
    extra: Counter[str] = Counter()
    examples: dict[str, RequestKey] = {}
    for key in keys:
        if not asked(key):
            extra[key.task] += 1
            examples.setdefault(key.task, key)
    if extra:
        lines = [f"  {task}: {count}, for example {examples[task]}" for task, count in extra.items()]
        if len(lines) > 2 * _ALIKE:
            lines[_ALIKE:] = [f"  and more in {len(lines) - _ALIKE} other tasks"]
        raise ConfigurationError(
            "the run folder holds answers that this run does not ask for:\n"
            + "\n".join(lines)
            + "\nChoose another folder with --output, or ask at least for what the folder holds "
            "(--tasks, --limit, --sample-ids, --repeats). Where they don't belong there, `muster repair` drops them."
        )


def asked_keys(planned: Sequence[PlannedTask]) -> Callable[[RequestKey], bool]:
    """Tells of a request whether the plan asks for it."""
    asked = {each.task.name: (set(each.compact.ids()), each.repeats) for each in planned}

    def is_asked(key: RequestKey) -> bool:
        ids, repeats = asked.get(key.task, (frozenset[str](), 0))
        return key.sample_id in ids and 0 <= key.repeat < repeats

    return is_asked


def _task_changes(old: TaskEntry, new: TaskEntry | None) -> list[str]:
    """What differs in one task: `generation.max_new_tokens: 8 → 16`."""
    if new is None:
        return [": was asked, and is not asked now (a resumed run may add tasks, not drop them)"]
    lines = differences(old.fingerprint, new.fingerprint, ".")
    if new.samples < old.samples:
        lines.append(f".samples: {old.samples} → {new.samples} (may be raised, not lowered)")
    elif new.samples == old.samples and new.sample_ids != old.sample_ids:
        lines.append(f".samples: other samples than before, as many ({old.samples})")
    if new.repeats < old.repeats:
        lines.append(f".repeats: {old.repeats} → {new.repeats} (may be raised, not lowered)")
    return lines


def _of_all_tasks(changes: Mapping[str, Sequence[str]]) -> list[str]:
    """One line per difference, whatever the number of tasks that have it.

    A setting whose values differ from task to task (a digest) has one line too, from the first of them.
    """
    by_setting: dict[str, dict[str, list[str]]] = {}
    for task, lines in changes.items():
        for line in lines:
            setting = line.partition(":")[0]
            by_setting.setdefault(setting, {}).setdefault(line, []).append(task)
    shown: list[str] = []
    for alike in by_setting.values():
        if len(alike) > _ALIKE:
            first, tasks = next(iter(alike)), [task for which in alike.values() for task in which]
            shown.append(f"tasks.{tasks[0]}{first}, and other values in {_listed(tasks[1:])}")
            continue
        for line, tasks in alike.items():
            name, also = f"tasks.{tasks[0]}{line}", tasks[1:]
            shown.append(f"{name}, as in {_listed(also)}" if also else name)
    return shown


def _listed(tasks: Sequence[str]) -> str:
    """`mme, pope`, or `mme, pope, gqa and 77 more tasks`."""
    if len(tasks) <= _ALIKE + 1:
        return ", ".join(tasks)
    return f"{', '.join(tasks[:_ALIKE])} and {len(tasks) - _ALIKE} more tasks"
