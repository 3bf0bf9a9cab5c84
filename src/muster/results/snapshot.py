"""How far a run is, at one moment: what its own display shows, `muster status` reads and `--events` writes.

The run writes it into its folder (`progress.json`) every few seconds, so that everybody sees the same numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from muster.core.regular_files import regular
from muster.results.files import encode_json

_EVERY_SECONDS = 2.0


class TaskSnapshot(msgspec.Struct, frozen=True):
    """One task."""

    name: str
    total: int
    """Requests."""
    done: int
    """With an answer or a recorded failure, earlier attempts included."""
    errored: int = 0
    kept_back: int = 0
    """Answered, but still with the workers (`--collect gather`)."""
    score_name: str = ""
    score: float | None = None
    """The mean so far, of this attempt's answers; what takes longest is asked first, so it may move."""
    ci95: tuple[float, float] | None = None
    scored: int = 0


class WorkerSnapshot(msgspec.Struct, frozen=True):
    """One replica's worker."""

    name: str
    host: str = ""
    state: str = ""
    """starting, loading, working, lost, left, failed or not needed."""
    joined: bool = False
    """Came to a running run from another command."""
    restarts: int = 0
    """Times that its process was started again."""
    answered: int = 0
    """In this attempt."""
    rate: float = 0.0
    """Per second, over the last minute."""
    holding: int = 0
    """Requests that were given to it and aren't answered."""
    sample: str = ""
    """The oldest of them, `task/id`."""
    waiting_s: float | None = None
    """Seconds since it last answered or started something, while it holds requests."""
    slow: bool = False
    """Less than half as fast as half of the replicas."""


class Straggler(msgspec.Struct, frozen=True):
    """A request that takes much longer than others do."""

    worker: str
    sample: str
    seconds: float
    usual_s: float
    """What 95 % of the last answers took at most."""


class Snapshot(msgspec.Struct, frozen=True):
    """The run."""

    at: float
    """Unix seconds."""
    attempt: int
    tasks: list[TaskSnapshot]
    workers: list[WorkerSnapshot]
    done: int
    total: int
    errored: int
    rate: float
    """Answers per second, over the last minute where enough came in it."""
    tokens: int
    """Generated in this attempt."""
    time_left: float | None = None
    """Seconds, by the predicted cost of what is left, but no less than the longest request that is being answered."""
    stragglers: list[Straggler] = []
    notice: str = ""
    """What the user should know right now: draining, waiting for ranks …"""
    notes: dict[str, str] = {}
    """What the models say of how they answer."""

    @property
    def kept_back(self) -> int:
        """Answers that are still with the workers."""
        return sum(task.kept_back for task in self.tasks)


class SnapshotFile:
    """The file that a running run keeps up to date."""

    def __init__(self, path: Path, look: Callable[[], Snapshot]) -> None:
        self._path, self._look = path, look
        self._saved = -math.inf

    def keep_up(self) -> None:
        """Save, where the last time is more than two seconds ago."""
        if time.monotonic() - self._saved >= _EVERY_SECONDS:
            self.save()

    def save(self) -> None:
        """Replace the file. Not synced: it is worth nothing after a crash. A full disk is the journal's to tell."""
        temporary = self._path.with_name(f".{self._path.name}.tmp")
        with suppress(OSError):
            temporary.write_bytes(encode_json(self._look()) + b"\n")
            temporary.replace(self._path)
        self._saved = time.monotonic()


def load_snapshot(path: Path) -> Snapshot | None:
    """The file's; None where there is none, or none that this release understands."""
    try:
        return msgspec.json.decode(regular(path).read_bytes(), type=Snapshot)
    except (OSError, msgspec.DecodeError):
        return None
