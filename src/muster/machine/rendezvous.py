"""How ranks find the coordinator: rank 0 writes its address into the launcher's c10d store, the others read it.

Unless all were told beforehand (`given_coordinator`): then there is nothing to write, and torch isn't needed.

The name it is written under is the same for every attempt: torchrun counts restarts per node, so that after a node
was restarted alone its ranks and rank 0 disagree about the attempt. What an earlier attempt left behind is recognised
by nobody answering there with its secret.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import msgspec

from muster.core import RunError
from muster.machine import given_coordinator as given
from muster.machine.interfaces import describe_interfaces
from muster.machine.ranks import Ranks, host_name, master_address
from muster.wire.transport import HandshakeError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

log = logging.getLogger(__name__)

_kept: list[Store] = []
"""The process that hosts a store must keep it alive until it ends."""
_KEY = "muster/coordinator"
_ARRIVED = "muster/told_that_it_is_over"
_LONGEST_PAUSE = 1.0
"""Between two looks; thousands of ranks may look."""
_COMPLAIN_SECONDS = 5.0
_COMPLAIN_LATER_SECONDS = 60.0
"""Where an address was given, nobody answers there until rank 0 has planned the run."""
_CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where the coordinator is and how to prove that one belongs to its run."""

    addresses: list[tuple[str, int]]
    secret: str
    state: Literal["open", "over"] = "open"
    """`over`: all is answered, and there is nothing left to join."""


OVER = Meeting([], "", "over")
Reach = Callable[[Meeting], tuple[str, int]]
"""Where somebody is met who knows the secret. Raises `OSError` or `HandshakeError`."""


def publish(ranks: Ranks, meeting: Meeting, timeout: float) -> None:
    """Rank 0: tell the others through the store. Raises `RunError` when that can't be reached."""
    open_store(ranks, timeout).set(_KEY, msgspec.json.encode(meeting).decode())


def join(ranks: Ranks, timeout: float, reach: Reach) -> Meeting:
    """Other ranks: the meeting that rank 0 published, at the one address where somebody answers, or `OVER`.

    Its other addresses may be those of nobody, or of other machines in this network.

    Raises:
        RunError: rank 0 never came, or can't be reached from here; says where and for how long it was tried.
    """
    limit = time.monotonic() + timeout
    told = given.given_coordinator()
    complain_at = min(limit, time.monotonic() + (_COMPLAIN_LATER_SECONDS if told else _COMPLAIN_SECONDS))
    look = (
        _Published(ranks, timeout).read if told is None else lambda: Meeting([told.endpoint], told.key.hex())
    )
    problem, pause = "", 0.1
    while True:
        meeting = look()
        if meeting is not None:
            if meeting.state == "over":
                return meeting
            try:
                return Meeting([reach(meeting)], meeting.secret)
            except (OSError, HandshakeError) as error:
                reason = str(error)
            if not problem and time.monotonic() >= complain_at:
                problem = _cannot_reach(ranks, meeting, reason)
                log.warning("%s; still trying", problem)
        if time.monotonic() > limit:
            raise RunError(problem or _never_came(ranks, timeout))
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE, 1.5 * pause)


def announce_end(ranks: Ranks, absent: int, stay: Callable[[], bool]) -> None:
    """Rank 0, when all is answered: spare ranks that come only now the wait for a coordinator.

    Under srun and mpirun the meeting point ended with the worker that hosted it, so it is opened once more, until the
    `absent` ranks have asked or `stay`, which waits a moment, says no. Raises `RunError` when that can't be done.
    """
    store = open_store(ranks, 5.0)
    store.set(_KEY, msgspec.json.encode(OVER).decode())
    while not uses_agent_store() and store.add(_ARRIVED, 0) < absent and stay():
        pass


def say_goodbye() -> None:
    """A rank that was told `OVER`: let rank 0 know."""
    try:
        _kept[-1].add(_ARRIVED, 1)
    except RuntimeError as error:
        log.debug("rank 0 is gone: %s", error)


def _never_came(ranks: Ranks, timeout: float) -> str:
    host, port = master_address(ranks)
    return (
        f"rank {ranks.rank} on {host_name()} waited {timeout:.0f} s for rank 0, which never said where it is "
        f"(rendezvous at {host}:{port}). Look at rank 0's output; raise --rendezvous-timeout for slow nodes"
    )


def _cannot_reach(ranks: Ranks, meeting: Meeting, reason: str) -> str:
    places = ", ".join(f"{host}:{port}" for host, port in meeting.addresses)
    if given.ADDRESS in os.environ:
        return (
            f"rank {ranks.rank} on {host_name()} cannot reach the coordinator at {given.ADDRESS}={places}: {reason}. "
            f"Look at rank 0's output; check that this is its node's address, that {given.SECRET_FILE} has the same "
            "secret there, and that no firewall is between"
        )
    return (
        f"rank {ranks.rank} on {host_name()} cannot reach the coordinator, which rank 0 says is at {places}: {reason}. "
        "If that is not an address of the network that joins the nodes, set GLOO_SOCKET_IFNAME (or "
        "NCCL_SOCKET_IFNAME) on rank 0's node to the interface that is; else look for a firewall. Interfaces "
        f"on {host_name()}: {describe_interfaces()}"
    )


class _Published:
    """What rank 0 has written into the launcher's store."""

    def __init__(self, ranks: Ranks, timeout: float) -> None:
        self._ranks, self._limit = ranks, time.monotonic() + timeout
        self._store = open_store(ranks, timeout)

    def read(self) -> Meeting | None:
        """The meeting, if it is there. Raises `RunError` where the store is gone for good."""
        from torch.distributed import DistError

        try:
            if not self._store.check([_KEY]):  # not wait(): it could not be ended by a signal
                return None
            return msgspec.json.decode(self._store.get(_KEY), type=Meeting)
        except DistError:
            self._store = self._reopened()
            return None

    def _reopened(self) -> Store:
        """The store, after its host went away. Where that was the launcher's agent it won't come back."""
        if uses_agent_store():
            host, port = master_address(self._ranks)
            raise RunError(
                f"rank {self._ranks.rank} on {host_name()}: the launcher's rendezvous at {host}:{port} is gone. "
                "Rank 0's node has ended or failed; look at its output"
            )
        return open_store(self._ranks, max(1.0, self._limit - time.monotonic()))


def group_store(ranks: Ranks, timeout: float, secret: str = "") -> Store:
    """The group's store, under names that belong to this coordinator alone, by its `secret`, or to this attempt."""
    from torch._C._distributed_c10d import PrefixStore

    store = _kept[-1] if _kept else open_store(ranks, timeout)
    name = secret or str(ranks.attempt)
    return PrefixStore(f"muster/{hashlib.sha256(name.encode()).hexdigest()[:16]}", store)


def uses_agent_store(env: Mapping[str, str] = os.environ) -> bool:
    """Whether the launcher hosts the store (torchrun), not rank 0."""
    return env.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def open_store(ranks: Ranks, timeout: float, env: Mapping[str, str] = os.environ) -> Store:
    """The group's store: torchrun's own, or one that rank 0 hosts for srun and mpirun.

    Raises:
        RunError: nobody answers at the meeting point, or rank 0 can't open it; says which.
    """
    host, port = master_address(ranks, env)
    hosts_it = ranks.rank == 0 and not uses_agent_store(env)
    if not hosts_it:
        _wait_for_listener(ranks, host, port, timeout)

    from torch._C._distributed_c10d import TCPStore
    from torch.distributed import DistError

    try:
        store = TCPStore(
            host,
            port,
            is_master=hosts_it,
            timeout=timedelta(seconds=timeout if hosts_it else min(timeout, 30.0)),
            wait_for_workers=False,
            multi_tenant=True,
        )
    except DistError as error:
        role = "open" if hosts_it else "reach"
        raise RunError(
            f"rank {ranks.rank} could not {role} the rendezvous at {host}:{port}: {str(error).splitlines()[0]}. "
            "Check MASTER_ADDR, MASTER_PORT and that the nodes can reach each other"
        ) from error
    _kept.append(store)
    return store


def _wait_for_listener(ranks: Ranks, host: str, port: int, timeout: float) -> None:
    """Wait, in a way that a signal can end, until something listens at the meeting point."""
    limit = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
            return
        except OSError as error:
            if time.monotonic() > limit:
                raise RunError(
                    f"rank {ranks.rank} could not reach the rendezvous at {host}:{port} from {host_name()} within "
                    f"{timeout:.0f} s: {error.strerror or error}. Check MASTER_ADDR, MASTER_PORT, that rank 0 was "
                    f"started, and that the nodes can reach each other. Interfaces on {host_name()}: "
                    f"{describe_interfaces()}"
                ) from error
        time.sleep(0.2)
