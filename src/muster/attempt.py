"""One attempt at a run: how it enters the manifest, how it may be interrupted, and how that is told."""

from __future__ import annotations

import logging
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self
from uuid import uuid4

from muster.config import RunConfig
from muster.coordinator.progress import Progress
from muster.core import (
    JSON,
    ConfigurationError,
    EndedByCodeError,
    InterruptedRunError,
    MusterError,
    RunError,
    RunTimeoutError,
)
from muster.core.foreign_code import ForeignCode
from muster.core.interruption import settle
from muster.engines.job import Engine
from muster.models.protocol import ModelSettings
from muster.planning import portable
from muster.results.belonging import check_answers_are_there, check_belongs, check_not_lost
from muster.results.folder import RunFolder
from muster.results.manifest import Attempt, Manifest, check_resumable
from muster.tasks.plan import PlannedTask

log = logging.getLogger(__name__)

STOP_SECONDS = 30.0
"""What started requests are given to finish after `--run-timeout`; a little more than engines give them."""


def default_output(config: RunConfig) -> Path:
    """`runs/<name or model>-<time>`: the coordinator's clock names the run, nobody else's."""
    name = re.sub(r"[^\w.-]+", "-", config.name or Path(config.model).name).strip("-.") or "model"
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def begin(
    folder: RunFolder,
    config: RunConfig,
    settings: ModelSettings,
    planned: list[PlannedTask],
    engine: Engine,
    replicas: int,
    served_by: Mapping[str, JSON] | None = None,
) -> Manifest:
    """Write the manifest of a new run, or check that this run goes on with the folder's.

    `served_by`: what the backend says of the servers of its model.

    Raises:
        ConfigurationError: the folder holds answers of another run; shows what differs.
    """
    manifest = Manifest.describe(
        run=uuid4().hex[:12],
        model=settings.model,
        backend=config.backend,
        model_args=settings.args,
        config=portable(config, folder.root, planned).model_dump(mode="json"),
        planned=planned,
        served_by=served_by,
    )
    manifest = replace(manifest, model=config.model)
    if folder.manifest.exists():
        old = Manifest.load(folder.manifest)
        check_belongs(folder, old.run)
        check_answers_are_there(folder)
        check_resumable(old, manifest)
        manifest = manifest.resumed_from(old)
    else:
        check_not_lost(folder)
    manifest = manifest.with_attempt(
        Attempt(
            time.time(),
            engine.name,
            world_size=replicas,
            gpus_per_replica=settings.gpus_per_replica,
            parallelism=settings.parallelism,
            command=list(sys.argv),
        )
    )
    manifest.save(folder.manifest)
    return manifest


@dataclass(slots=True)
class Findings:
    """What is known only while the attempt goes on."""

    videos: str = ""
    """`Attempt.videos`, once the model is loaded."""
    notes: Mapping[str, str] | None = None
    """`Attempt.notes`, likewise."""
    exit_status: int = 0
    """Of an attempt that raises nothing."""


@contextmanager
def attempt_of(folder: RunFolder, manifest: Manifest) -> Iterator[Findings]:
    """Note in the manifest how the attempt ended, and what it found out."""
    status, findings = 1, Findings()
    try:
        yield findings
        status = findings.exit_status
    except (MusterError, InterruptedRunError) as error:
        status = error.exit_code
        raise
    finally:
        try:
            found = manifest.with_found(findings.videos, findings.notes)
            found.with_attempt_ended(time.time(), status).save(folder.manifest)
        except (OSError, MusterError) as error:
            log.warning("how this attempt ended could not be noted: %s", error)


@contextmanager
def how_to_go_on(folder: RunFolder, progress: Progress) -> Iterator[None]:
    """Tell with every interruption what was kept and how to go on."""
    try:
        yield
    except InterruptedRunError as error:
        raise InterruptedRunError(
            str(error),
            error.signal_number,
            advice=f"{progress.done} of {progress.total} answers are kept in {folder.root}. To go on, run the same "
            f"command again with --output {folder.root}; to score what is there, `muster score {folder.root}`",
        ) from error


@contextmanager
def ended_by_nobody_else() -> Iterator[None]:
    """No code of somebody else ends a run in silence. Raises `RunError`, which names whose it was."""
    try:
        with ForeignCode():
            yield
    except EndedByCodeError as error:
        raise RunError(
            f"{error}, and so ended the run, which has no results. What was answered is kept; once that is mended, run "
            "the same command again"
        ) from error


class RunLimit:
    """Stops what runs in its context after so many seconds, as Ctrl-C does: started work is finished and kept.

    Works by a real SIGINT, because every part of a run knows what to do with one, whatever it waits for. It is sent
    again after each `STOP_SECONDS`, which ends what can't be finished.
    """

    def __init__(self, seconds: float | None) -> None:
        """No limit without `seconds`. Raises `ConfigurationError` outside the main thread, which alone gets signals."""
        if seconds is not None and threading.current_thread() is not threading.main_thread():
            raise ConfigurationError(
                "run_timeout works in the main thread only: call evaluate() there, or leave it out"
            )
        self._seconds = seconds
        self._over, self._reached = threading.Event(), threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="muster-run-timeout", daemon=True)

    def __enter__(self) -> Self:
        if self._seconds is not None:
            self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        if self._seconds is not None:
            self._watcher.join()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Call an interruption by its name where the limit was its cause. Raises `RunTimeoutError`."""
        try:
            yield
        except (InterruptedRunError, KeyboardInterrupt) as error:
            if not self._reached.is_set():
                raise
            settle()
            reason = f"stopped after {self._seconds:g} s (--run-timeout)"
            advice = error.advice if isinstance(error, InterruptedRunError) else ""
            raise RunTimeoutError(f"{reason}: {advice}" if advice else reason) from error

    def _watch(self) -> None:
        pause = self._seconds
        while not self._over.wait(pause):
            self._reached.set()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            pause = STOP_SECONDS
