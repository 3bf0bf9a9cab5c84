"""The story of a run: plan, resume, work, score."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from muster.config import RunConfig, load_config
from muster.core import ConfigurationError, InterruptedRunError, MusterError
from muster.distributed.coordinator import Coordinator
from muster.distributed.devices import visible_gpus
from muster.distributed.environment import Ranks, accelerate_processes, read_ranks
from muster.distributed.progress import Progress, TaskProgress
from muster.distributed.workload import Workload
from muster.engines.inline import InlineEngine
from muster.engines.job import Engine, Job
from muster.engines.local import LocalEngine
from muster.models.protocol import ModelSettings
from muster.models.registry import load_backend, resolve_model
from muster.planning import plan, portable
from muster.results.folder import RunFolder
from muster.results.journal import Journal, completed_keys, read_journal
from muster.results.manifest import Attempt, Manifest, check_covered, check_resumable
from muster.results.results import Results
from muster.results.scoring import score_run
from muster.scheduling.cost import TokenHistory
from muster.scheduling.queue import WorkQueue
from muster.tasks.plan import PlannedTask

log = logging.getLogger(__name__)


class Display(Protocol):
    """Shows a run while it goes on."""

    def show(self, progress: Progress) -> AbstractContextManager[None]:
        """Show the progress until the context ends."""
        ...

    def say(self, line: str) -> None:
        """Tell the user one thing."""
        ...


class Silent:
    """Implements `Display` by showing nothing."""

    def show(self, progress: Progress) -> AbstractContextManager[None]:  # noqa: ARG002
        """Show nothing."""
        return nullcontext()

    def say(self, line: str) -> None:
        """Say nothing."""


def evaluate(model: str, tasks: str | list[str], **options: object) -> Results:
    """Evaluate a model on tasks; everything that `muster run` can do, with the options' names.

    `muster.evaluate("demo", ["digits"], output="runs/one", replicas=2).tasks["digits_read"].metrics`

    Raises:
        ConfigurationError: what was asked can't be done; nothing was started.
        RunError: the run failed; what was answered is in the run folder.
    """
    config = load_config({"model": model, "tasks": tasks, **options})
    return run(config, Silent())


def run(config: RunConfig, display: Display) -> Results:
    """Evaluate in this process, which owns the run: alone, with workers that it starts, or as rank 0 of many.

    Raises:
        MusterError: with the exit code that its class says; the journal is complete up to then.
    """
    started = time.time()
    engine, replicas = choose_engine(config)
    settings = model_settings(config)
    load_backend(config.backend)
    planned = plan(config)
    folder = RunFolder(config.output or default_output(config.model))
    with folder.lock():
        manifest = begin(folder, config, settings, planned, engine, replicas)
        with _attempt(folder, manifest), Journal.open(folder.journal, manifest.run) as journal:
            if not journal.recovery.clean:
                display.say(f"journal: {journal.recovery}")
            done = completed_keys(folder.journal)
            check_covered(done, planned)
            workload = Workload(planned, done, _history([folder, *map(RunFolder, config.lengths_from)]))
            if done:
                display.say(f"resuming {folder.root}: {len(done)} answers are there, {len(workload)} to go")
            if len(workload) < replicas and isinstance(engine, LocalEngine):
                replicas = max(1, len(workload))  # a replica without work would only load the model
            progress = _progress(planned, workload)
            coordinator = Coordinator(
                workload,
                WorkQueue(workload.items, schedule=config.schedule, replicas=replicas),
                journal,
                progress,
                attempt=len(manifest.attempts),
                worker_timeout=config.worker_timeout,
                request_timeout=config.request_timeout,
                load_timeout=config.load_timeout,
            )
            if len(workload):
                with display.show(progress), _how_to_go_on(folder, progress):
                    engine.execute(coordinator, _job(config, settings, folder, replicas), journal.sync)
            journal.sync()
            timing = timing_of(coordinator, started, time.time()) if len(workload) else None
            return score_run(folder, planned, manifest=manifest, timing=timing)


def choose_engine(config: RunConfig) -> tuple[Engine, int]:
    """The engine and the number of replicas.

    Raises:
        ConfigurationError: an engine that doesn't fit how this process was started.
    """
    ranks = read_ranks()
    if config.engine == "torchrun" and ranks is None:
        raise ConfigurationError(
            "--engine torchrun, but no launcher set any ranks: start with `torchrun … -m muster run …`, or leave "
            "--engine out"
        )
    if ranks is not None and config.engine in ("auto", "torchrun"):
        return _spmd(config, ranks)
    if config.engine == "ray":
        return _ray(config)
    replicas = (
        config.replicas or accelerate_processes() or max(1, len(visible_gpus()) if _uses_gpus(config) else 1)
    )
    if config.engine == "inline" and replicas > 1 and config.replicas:
        raise ConfigurationError("--engine inline has one replica: use --engine local for more")
    if config.engine == "inline" or (config.engine == "auto" and replicas == 1):
        if config.collect == "gather":
            raise ConfigurationError("--collect gather needs a launcher's ranks: start with torchrun")
        return InlineEngine(), 1
    if config.collect == "gather":
        raise ConfigurationError("--collect gather needs a launcher's ranks: start with torchrun")
    return LocalEngine(), replicas


def _spmd(config: RunConfig, ranks: Ranks) -> tuple[Engine, int]:
    from muster.engines.spmd import SpmdEngine

    if config.replicas not in (None, ranks.world_size):
        raise ConfigurationError(
            f"--replicas {config.replicas}, but the launcher started {ranks.world_size} processes, one replica each: "
            "leave --replicas out"
        )
    return SpmdEngine(ranks), ranks.world_size


def _ray(config: RunConfig) -> tuple[Engine, int]:
    from muster.engines.ray import RayEngine

    if config.collect == "gather":
        raise ConfigurationError("--collect gather needs a launcher's ranks: start with torchrun")
    if config.schedule != "dynamic" and config.replicas is None:
        raise ConfigurationError(
            f"--schedule {config.schedule} divides the samples before the start: with --engine ray, where nodes come "
            "and go, say --replicas"
        )
    return RayEngine(config.ray_address, config.replicas), config.replicas or 1


def _uses_gpus(config: RunConfig) -> bool:
    return config.model_args.get("device") != "cpu"


def model_settings(config: RunConfig) -> ModelSettings:
    """What the backend's constructor gets. Raises `ConfigurationError` for a folder that holds no model."""
    return ModelSettings(
        model=resolve_model(config.model),
        args=config.model_args,
        batch_size=config.batch_size,
        max_in_flight=config.max_in_flight,
        seed=config.seed or 0,
        trust_remote_code=config.trust_remote_code,
        request_timeout=config.request_timeout,
    )


def default_output(model: str) -> Path:
    """`runs/<model>-<time>`: the coordinator's clock names the run, nobody else's."""
    name = re.sub(r"[^\w.-]+", "-", Path(model).name).strip("-") or "model"
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def begin(
    folder: RunFolder,
    config: RunConfig,
    settings: ModelSettings,
    planned: list[PlannedTask],
    engine: Engine,
    replicas: int,
) -> Manifest:
    """Write the manifest of a new run, or check that this run goes on with the folder's.

    Raises:
        ConfigurationError: the folder holds answers of another run; shows what differs.
    """
    manifest = Manifest.describe(
        run=uuid4().hex[:12],
        model=settings.model,
        backend=config.backend,
        model_args=settings.args,
        config=portable(config, folder.root).model_dump(mode="json"),
        planned=planned,
    )
    manifest = replace(manifest, model=config.model)
    if folder.manifest.exists():
        old = Manifest.load(folder.manifest)
        check_resumable(old, manifest)
        manifest = manifest.resumed_from(old)
    manifest = manifest.with_attempt(
        Attempt(time.time(), engine.name, world_size=replicas, command=list(sys.argv))
    )
    manifest.save(folder.manifest)
    return manifest


@contextmanager
def _attempt(folder: RunFolder, manifest: Manifest) -> Iterator[None]:
    """Note in the manifest how the attempt ended."""
    status = 1
    try:
        yield
        status = 0
    except MusterError as error:
        status = error.exit_code
        raise
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
        raise
    finally:
        try:
            manifest.with_attempt_ended(time.time(), status).save(folder.manifest)
        except (OSError, MusterError):
            log.exception("the end of the attempt could not be written to %s", folder.manifest)


@contextmanager
def _how_to_go_on(folder: RunFolder, progress: Progress) -> Iterator[None]:
    try:
        yield
    except InterruptedRunError as error:
        raise InterruptedRunError(
            f"{error}: {progress.done} of {progress.total} answers are kept in {folder.root}. To go on, run the same "
            f"command again with --output {folder.root}; to score what is there, `muster score {folder.root}`",
            error.signal_number,
        ) from error


def _progress(planned: list[PlannedTask], workload: Workload) -> Progress:
    tasks = []
    left = [0] * len(planned)
    for index in range(len(workload)):
        left[workload.task(index)] += 1
    for task, remaining in zip(planned, left, strict=True):
        info = task.task.metric.info
        total = len(task.samples) * task.repeats
        shown = info.means.get(info.primary) or next(iter(info.means.values()), "")
        tasks.append(TaskProgress(task.task.name, total, done=total - remaining, shown_score=shown))
    return Progress(tasks)


def _history(runs: Sequence[RunFolder]) -> TokenHistory:
    """Answer lengths of earlier runs, and of this one's earlier attempts: what the longest-first order goes by."""
    history = TokenHistory()
    for run in runs:
        if not run.journal.exists():
            raise ConfigurationError(f"--lengths-from {run.root}: there is no run (no {run.journal.name})")
        for record in read_journal(run.journal):
            history.add(record.completion)
    return history


def _job(config: RunConfig, settings: ModelSettings, folder: RunFolder, replicas: int) -> Job:
    return Job(
        backend=config.backend,
        settings=settings,
        folder=folder,
        replicas=replicas,
        collect=config.collect,
        process_group=config.dist_backend,
        worker_timeout=config.worker_timeout,
        request_timeout=config.request_timeout,
        rendezvous_timeout=config.rendezvous_timeout,
    )


def timing_of(coordinator: Coordinator, started: float, ended: float) -> Mapping[str, float]:
    """The `timing` of results.json, of this attempt. Rates count from the first replica's readiness."""
    ready = [worker for worker in coordinator.workers.values() if worker.ready_at is not None]
    first = min((worker.ready_at for worker in ready if worker.ready_at), default=ended)
    seconds = max(ended - first, 1e-9)
    answered = sum(worker.answered for worker in ready)
    present = sum(ended - worker.ready_at for worker in ready if worker.ready_at)
    return {
        "wall_s": ended - started,
        "model_load_s": max((worker.load_seconds for worker in ready), default=0.0),
        "samples_per_s": answered / seconds,
        "tokens_per_s": coordinator.progress.tokens / seconds,
        "parallel_efficiency": min(1.0, sum(w.busy_seconds for w in ready) / present) if present > 0 else 0.0,
    }
