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
from dataclasses import replace
from pathlib import Path
from types import FrameType
from uuid import uuid4

from muster.config import RunConfig
from muster.core import JSON, InterruptedRunError, MusterError
from muster.distributed.progress import Progress
from muster.engines.job import Engine
from muster.models.protocol import ModelSettings
from muster.planning import portable
from muster.results.folder import RunFolder
from muster.results.manifest import Attempt, Manifest, check_resumable
from muster.tasks.plan import PlannedTask

log = logging.getLogger(__name__)


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
        config=portable(config, folder.root).model_dump(mode="json"),
        planned=planned,
        served_by=served_by,
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
def attempt_of(folder: RunFolder, manifest: Manifest) -> Iterator[None]:
    """Note in the manifest how the attempt ended."""
    status = 1
    try:
        yield
        status = 0
    except MusterError as error:
        status = error.exit_code
        raise
    finally:
        try:
            manifest.with_attempt_ended(time.time(), status).save(folder.manifest)
        except (OSError, MusterError):
            log.exception("the end of the attempt could not be written to %s", folder.manifest)


@contextmanager
def how_to_go_on(folder: RunFolder, progress: Progress) -> Iterator[None]:
    """Tell with every interruption what was kept and how to go on."""
    try:
        yield
    except InterruptedRunError as error:
        raise InterruptedRunError(
            f"{error}: {progress.done} of {progress.total} answers are kept in {folder.root}. To go on, run the same "
            f"command again with --output {folder.root}; to score what is there, `muster score {folder.root}`",
            error.signal_number,
        ) from error


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGTERM and Ctrl-C into `InterruptedRunError` wherever no engine handles them: planning and scoring.

    Engines drain instead, and leave the signals as they found them or at their defaults.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise InterruptedRunError(f"interrupted by {signal.Signals(number).name}", number)

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
