"""How a worker finds its run's coordinator and becomes known to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from muster.core import RunError
from muster.machine.ranks import host_name
from muster.machine.rendezvous import Meeting
from muster.models.protocol import ModelSettings
from muster.wire.messages import Hello, Stop
from muster.wire.transport import Connection, HandshakeError
from muster.worker.link import SocketLink

_CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Start:
    """What a worker needs to find its coordinator."""

    name: str
    rank: int | None
    addresses: list[tuple[str, int]] = field(default_factory=list)
    """Tried in this order. Without any the worker asks in its launcher's rendezvous."""
    secret: str = ""
    """Hexadecimal."""
    publish: list[tuple[str, int]] = field(default_factory=list)
    """Addresses of the coordinator for this worker to tell the other ranks (rank 0 under a launcher)."""
    rendezvous_timeout: float = 600.0
    ship_logs: bool = False
    """Whether log lines go through the coordinator; a local child's standard error goes to its log file anyway."""
    session: str = ""
    machine_id: str = ""
    """`Hello`'s, of a worker that joins a running run."""
    backend: str | None = None
    settings: ModelSettings | None = None
    """What to load, where the machine has decided that for itself; else the coordinator says."""
    reports: int | None = None
    """A pipe (its file descriptor) to whoever keeps this worker going, where that isn't the coordinator."""


class NotJoinedError(RunError):
    """Nobody is at the coordinator's addresses, or somebody else."""


def connect_to_any(addresses: Sequence[tuple[str, int]], secret: bytes) -> Connection:
    """A connection to the first address that the run's coordinator answers at.

    Raises:
        OSError | HandshakeError: the last address's error, when none does.
    """
    error: Exception = OSError("no address to connect to")
    for address in addresses:
        try:
            return Connection.connect(address, secret, _CONNECT_SECONDS)
        except (OSError, HandshakeError) as failed:
            error = failed
    raise error


def link_to(start: Start, on_stop: Callable[[Stop, bool], None]) -> SocketLink:
    """The worker's link to its coordinator. Raises as `SocketLink` and `connect_to_any` do."""
    secret = bytes.fromhex(start.secret)
    hello = Hello(start.name, start.rank, host_name(), os.getpid(), start.session, start.machine_id)
    return SocketLink(lambda: connect_to_any(start.addresses, secret), hello, on_stop)


def reach(meeting: Meeting) -> tuple[str, int]:
    """Where a coordinator that was published answers from here. Raises as `connect_to_any` does."""
    connection = connect_to_any(meeting.addresses, bytes.fromhex(meeting.secret))
    try:
        return connection.peer
    finally:
        connection.close()
