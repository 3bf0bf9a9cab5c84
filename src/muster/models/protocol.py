"""The one contract of a model backend: answer requests, pulling the next only when there is room for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from muster.core import JSON, Completion, Request
from muster.core.choices import Parallelism, RequestedBatch


class RequestStream(Protocol):
    """Where a backend pulls requests from. Pulling is claiming: what was pulled is this replica's to answer.

    The stream ends when there is nothing to claim *at the moment*; answer what was pulled and return.
    `generate` is called again when there is more (work of a lost replica that came back to the queue).
    """

    def __iter__(self) -> Iterator[Request]:
        """The stream itself."""
        ...

    def __next__(self) -> Request:
        """The next request. Never waits for answers that this replica still owes."""
        ...

    def take(self, limit: int) -> list[Request]:
        """Up to `limit` requests as one batch: at least one, or none when the stream has ended.

        The scheduler decides how many: fewer near the end, so that no replica hoards the tail. It may wait
        until this replica has answered what it already holds, so call it where waiting doesn't hold up
        answers: between batches, or in a background thread that prepares the next batch. Requests of one
        `take` share their generation settings.
        """
        ...


@runtime_checkable
class Model(Protocol):
    """A loaded model. One instance is one replica."""

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        """Answer requests in any order, as they are ready.

        A request that can't be answered is yielded as a `Completion` with a `failure`. An exception that
        leaves `generate` means that the replica is broken: its requests go back to the queue.
        """
        ...


ModelKind = Literal["checkpoint", "served", "any"]
"""What `--model` names: `checkpoint`, a model folder or a hub id; `served`, a model of a server, by the name that the
server knows it by, and no GPU of this machine; `any`, whatever the backend makes of it."""


class Declaration(Protocol):
    """Optional attributes of a backend's class (or factory), read before anything is loaded."""

    models: ModelKind
    """`any` where it says nothing: free text, made absolute where it is a path."""
    uses_gpus: bool
    """Whether replicas get this machine's GPUs, and are as many; where it says nothing all but `served` do."""
    starts_processes: bool
    """Whether a replica has processes beside its worker's (an engine, a server), of which one may be lost alone; false
    where it says nothing. Its worker is then a process of its own, which can be started again, under a launcher too."""

    likelihoods: bool
    """Whether it says how likely a request's `continuations` are, as `muster.core.likelihood.as_text` writes it; false
    where it says nothing."""

    def identity(self, args: Mapping[str, JSON]) -> Mapping[str, JSON]:
        """A static method: what tells the servers, or other code, apart that have a model of this name. The name and
        this are then all that is known of it.

        `args` are the model arguments. Becomes part of the run's fingerprint.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What a backend's constructor gets: `Backend(settings)` loads the model and returns a `Model`."""

    model: str
    """As the backend's `ModelKind` says: a local folder or a hub id, a server's name for it, or free text."""
    args: Mapping[str, JSON] = field(default_factory=dict)
    """`--model-args`: for the backend alone to understand."""
    batch_size: RequestedBatch = "auto"
    max_in_flight: int | None = None
    seed: int = 0
    trust_remote_code: bool = False
    request_timeout: float = 600.0
    """Seconds."""
    gpus_per_replica: int = 1
    """The backend is loaded in one process, which sees this replica's GPUs and no others: this many, on a machine with
    GPUs. Processes that it needs beside its own are its to start and to end."""
    parallelism: Parallelism = "device-map"
    """What to do with several GPUs. A backend that has a way of its own (an engine) may do that."""
    most_images: int | None = None
    """In one prompt of what the run has to ask, for engines that reserve memory for them; None: not known."""
    most_videos: int | None = None
    """The same of videos."""
    resumed: bool = False
    """Whether the run has answers already, so that its configuration has worked before."""


class Checked(Protocol):
    """An optional attribute of a backend's class."""

    @staticmethod
    def check(settings: ModelSettings) -> None:
        """Raise `ConfigurationError` for settings that can't work. Called before any process starts: nothing heavy."""
        ...


class Capacity(Protocol):
    """Optional attributes of a model, read after it was loaded."""

    slots: int
    """How many requests it works on at the same time (the batch size); 1 where it says nothing."""
    batched: bool
    """Whether those are one static batch that ends together; false where it says nothing."""
    videos: str
    """How it gets videos, for the manifest: `video`, as they are; `frames`, as images."""
    notes: Mapping[str, str]
    """What the user should know of how it answers, by name: `batching`: `static (its cache is a …)`. They are shown,
    logged and kept in the manifest and the results."""
