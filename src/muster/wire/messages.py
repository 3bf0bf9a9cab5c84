"""What coordinator and workers say to each other: typed messages in MessagePack, never pickle."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from muster.core import Failure, Request
from muster.core.choices import CollectMode, ProcessGroup
from muster.wire.probes import Probe

SCHEMA = 5
"""Raised with every incompatible change; both sides must agree."""
MORE_FOLLOWS = 0
"""The number of no pull."""


class Hello(msgspec.Struct, tag=True, frozen=True):
    """A worker introduces itself, at first and after every reconnection."""

    worker: str
    rank: int | None
    """None for a worker that joined a running run: no share of a static schedule is its own."""
    host: str
    pid: int
    session: str = ""
    """`Welcome.session`, once it is known."""
    machine_id: str = ""
    """`JoinRequest.machine_id` of the joining machine that started it."""
    schema: int = SCHEMA


class JoinRequest(msgspec.Struct, tag=True, frozen=True):
    """A machine asks to join with `replicas` workers; the answer is an `Offer`.

    With 0 it only wants to know what there is to be done.
    """

    machine_id: str
    """Random; names whoever asks, also when it asks again."""
    name: str
    """What its workers shall be called; empty: after the host."""
    host: str
    replicas: int
    schema: int = SCHEMA


class Ready(msgspec.Struct, tag=True, frozen=True):
    """The model is loaded. `slots` and `batched` are the backend's capacity."""

    slots: int
    batched: bool
    load_seconds: float
    device: str = ""
    sees_media: bool = False
    """Whether it reads the plan's images and videos by itself (`Welcome.probes`); else their bytes are sent."""
    videos: str = ""
    """`Capacity.videos` of its model."""
    notes: dict[str, str] = {}
    """`Capacity.notes` of its model."""


class Pull(msgspec.Struct, tag=True, frozen=True):
    """Asks for up to `limit` requests. `idle`: the worker can do nothing else until it gets some.

    With `park` the answer may wait until there is work or the run is over; without, an empty queue is
    answered at once.
    """

    number: int
    limit: int
    idle: bool
    park: bool = False


class Answers(msgspec.Struct, tag=True, frozen=True):
    """Completions by request index, each as JSON (`Encoded`). Kept by the worker until they are acknowledged."""

    number: int
    completions: list[tuple[int, bytes]]


class Pledge(msgspec.Struct, tag=True, frozen=True):
    """`--collect gather`: these requests are answered, and this worker keeps the answers until the end."""

    number: int
    indices: list[int]


class Heartbeat(msgspec.Struct, tag=True, frozen=True):
    """The worker lives; `busy_seconds` is how long its model has worked so far."""

    busy_seconds: float


class Log(msgspec.Struct, tag=True, frozen=True):
    """Lines for the worker's log file, which only the coordinator can write."""

    text: str


class Broken(msgspec.Struct, tag=True, frozen=True):
    """The worker failed, and ends after this.

    `during`: what would fail again at another start, before it could work; or its work. `configuration`: what was asked
    for can't be done by any replica. `for_good`: the backend's code is wrong, and another start wouldn't mend it.
    """

    failure: Failure
    during: Literal["meeting", "loading", "work"]
    configuration: bool = False
    for_good: bool = False


class Leave(msgspec.Struct, tag=True, frozen=True):
    """The worker stops in good order; `released` are requests it claimed and never started."""

    released: list[int]
    busy_seconds: float


class Welcome(msgspec.Struct, tag=True, frozen=True):
    """The coordinator accepts a worker and tells it what to load."""

    backend: str
    settings: msgspec.Raw
    """`ModelSettings` as a MessagePack map."""
    heartbeat_seconds: float
    reconnect_seconds: float
    collect: CollectMode = "stream"
    process_group: ProcessGroup = "auto"
    group_seconds: float = 600.0
    probes: list[Probe] = []
    """Files of the plan, for the worker to find out whether it sees them."""
    session: str = ""
    """Names this coordinator: one that takes its place later counts other requests under the same indices."""


class StatusQuery(msgspec.Struct, tag=True, frozen=True):
    """Whoever keeps a worker going asks how the coordinator sees it; the answer is a `WorkerStatus`.

    Before any `Hello`, on a connection of its own: the worker may be dead, or stand still.
    """

    worker: str
    given_up: str = ""
    """Why it won't be started again."""
    schema: int = SCHEMA


class WorkerStatus(msgspec.Struct, tag=True, frozen=True):
    """What the coordinator has seen of one worker."""

    session: str
    """`Welcome.session`."""
    pid: int = 0
    """Of the process that introduced itself last, on its own host; 0 before the first has."""
    answered: int = 0
    lost: bool = False
    """It was silent for too long, or stuck; its work went to the others."""
    failed: bool = False
    """It could not load the model, or had to be given up before that."""


class Offer(msgspec.Struct, tag=True, frozen=True):
    """What a machine that joins would have to run, for it to decide whether it can and will."""

    session: str
    run: str
    model: str
    """As the user named it."""
    backend: str
    backend_source: str
    """Digest of the file that a backend of the user's own is in."""
    settings: msgspec.Raw
    """`ModelSettings` as a MessagePack map."""
    fingerprint: msgspec.Raw
    """The model's, as a MessagePack map."""
    packages: dict[str, str]
    """Versions on the coordinator's side."""
    places: list[str]
    """The names of the machine's workers."""


class Grant(msgspec.Struct, tag=True, frozen=True):
    """The answer to the pull of the same number: requests by index, or why there are none.

    With `MORE_FOLLOWS` for a number it brings requests, and the pull is still to be answered.
    """

    number: int
    requests: list[tuple[int, Request]]
    state: Literal["work", "empty", "finished"]


class EncodedGrant(msgspec.Struct, tag="Grant", frozen=True):
    """A `Grant` of requests that are encoded already; for sending alone."""

    number: int
    requests: list[tuple[int, msgspec.Raw]]
    state: Literal["work", "empty", "finished"]


class Acknowledged(msgspec.Struct, tag=True, frozen=True):
    """Answers up to this number are in the coordinator's hands."""

    number: int


class Stop(msgspec.Struct, tag=True, frozen=True):
    """`drain`: claim no more, finish the requests in flight. `over`: nothing is wanted any more, end soon.

    `dump`: nothing was heard of the worker; send its stack for the log. `abort`: it is stuck: the same, and then die.
    Whoever started it starts it again.
    """

    how: Literal["drain", "over", "dump", "abort"]
    reason: str
    missing: list[int] = []
    """With `over`: ranks that never came, or were given up and may still exist."""


class Collect(msgspec.Struct, tag=True, frozen=True):
    """`--collect gather`: what to do with the answers that are kept.

    `group`: gather them over a process group of `size` workers, of which this one has `position`; the first
    delivers them all. `stream`: send them to the coordinator. `work`: there is work again, pull on.
    """

    how: Literal["group", "stream", "work"]
    position: int = 0
    size: int = 0


class Refused(msgspec.Struct, tag=True, frozen=True):
    """The coordinator won't have this worker or machine."""

    reason: str


FromWorker: TypeAlias = (
    Hello | JoinRequest | StatusQuery | Ready | Pull | Answers | Pledge | Heartbeat | Log | Broken | Leave
)
FromCoordinator: TypeAlias = Welcome | Offer | WorkerStatus | Grant | Acknowledged | Collect | Stop | Refused

_encoder = msgspec.msgpack.Encoder()
_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)
_from_coordinator: msgspec.msgpack.Decoder[FromCoordinator] = msgspec.msgpack.Decoder(FromCoordinator)


def encode(message: FromWorker | FromCoordinator | EncodedGrant) -> bytes:
    """The message as MessagePack."""
    return _encoder.encode(message)


def decode_from_worker(payload: bytes) -> FromWorker:
    """A worker's message. Raises `msgspec.DecodeError` for anything that isn't one."""
    return _from_worker.decode(payload)


def decode_from_coordinator(payload: bytes) -> FromCoordinator:
    """The coordinator's message. Raises `msgspec.DecodeError` for anything that isn't one."""
    return _from_coordinator.decode(payload)
