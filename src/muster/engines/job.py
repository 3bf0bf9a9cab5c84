"""What every engine needs to run the workers of one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from muster.coordinator.coordinator import Coordinator
from muster.core import JSON
from muster.core.choices import CollectMode, ProcessGroup
from muster.engines.placement import Shape
from muster.models.protocol import ModelSettings
from muster.results.folder import RunFolder
from muster.wire.endpoint import Endpoint


def _say_nothing(line: str) -> None:
    del line


@dataclass(frozen=True, slots=True)
class Listening:
    """`--listen`: where machines may join, and what they must know of the run to give the same answers."""

    address: Endpoint
    run: str
    model: str
    """As the user named it."""
    fingerprint: Mapping[str, JSON]
    """The model's."""
    secret: str | None = field(default=None, repr=False)
    """The user's own; else one is made and written into the run folder."""


@dataclass(frozen=True, slots=True)
class Job:
    """The model to load, where workers' logs go, and how long to wait for what (seconds)."""

    backend: str
    settings: ModelSettings
    folder: RunFolder
    replicas: int
    gpus_each: int | None = None
    """GPUs that a replica gets; None: an equal part of those that are there."""
    collect: CollectMode = "stream"
    process_group: ProcessGroup = "auto"
    worker_timeout: float = 120.0
    request_timeout: float = 600.0
    rendezvous_timeout: float = 600.0
    drain_seconds: float = 20.0
    """How long started requests may take to finish after SIGTERM or Ctrl-C."""
    listening: Listening | None = None
    say: Callable[[str], None] = _say_nothing
    """Tells the user one thing."""

    @property
    def heartbeat_seconds(self) -> float:
        """How often a worker says that it lives: several times before its silence counts."""
        return max(0.2, min(5.0, self.worker_timeout / 4))


class Engine(Protocol):
    """Starts workers, connects them to the coordinator, and returns when the run is over."""

    name: str

    def execute(self, coordinator: Coordinator, job: Job, on_sync: Callable[[], None]) -> None:
        """Run until every request is answered or given up. `on_sync` is called at least once a second.

        Raises:
            InterruptedRunError: a signal ended the run.
            RunError: no replica is left, or the journal can't be written.
        """
        ...

    def announce_end(self) -> None:
        """Every answer is there, though the run isn't over: spare those that come only now a wait. Returns at once."""
        ...

    def close(self, error: BaseException | None) -> None:
        """The last step of a run, after its results or its `error` were shown: let go of other processes."""
        ...


class Chosen(NamedTuple):
    """How a run is carried out."""

    engine: Engine
    replicas: int
    """At the start; 0: all of them join later."""
    shape: Shape
