"""The first member's side of a tensor parallel replica: it starts the others, orders, and notices when one is lost."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from muster.core import ConfigurationError, LostMemberError, ReplicaError
from muster.core.child_process import ChildProcess
from muster.models.protocol import ModelSettings
from muster.models.transformers.device_errors import classify
from muster.models.transformers.tensor.orders import Order, Report, Setup

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

MODULE = "muster.models.transformers.tensor.follower"
EXIT_BROKEN = os.EX_SOFTWARE
FOLLOW_SECONDS = 60.0
"""How long the others may need to finish a batch after the first member has."""
FAIL_SECONDS = 10.0
"""How long members may need to fail after one of them has."""
LOAD_SECONDS = 120.0
"""The same while they load, where the first member usually meets the same error and says it better."""
NOTICE_SECONDS = 1.0
"""How long the end of a member's socket may come after what it makes collectives say."""
SHORTEST_TIMEOUT = 600.0
"""Seconds that a collective may take at least: while loading, members come late to the first ones."""


@dataclass(slots=True, eq=False)
class _Member:
    position: int
    child: ChildProcess
    reports: deque[Report] = field(default_factory=deque)
    gone: bool = False

    def __str__(self) -> str:
        return f"member {self.position} (process {self.child.pid})"


@dataclass(slots=True, eq=False)
class _State:
    """What the listening threads share with the first member."""

    members: list[_Member]
    changed: threading.Condition = field(default_factory=threading.Condition)
    together: bool = False
    """Whether the main thread is where it can only go on when all members do."""
    patience: float = 0.0
    """How long it may stay there when one doesn't (seconds)."""
    closed: bool = False


class Members:
    """The other members, as processes with a socket each."""

    def __init__(self, members: list[_Member]) -> None:
        self._state = _State(members)
        self.size = 1 + len(members)
        self.room_for_twice = False
        """Whether the others had memory for twice the last batch."""
        self._store: object = None
        for member in members:
            threading.Thread(target=_listen, args=(self._state, member), daemon=True).start()
        self._end = weakref.finalize(self, _end, self._state)

    @classmethod
    def start(cls, size: int) -> Self:
        """Start the others, which begin to import what they need. Raises `ReplicaError` where that fails."""
        members: list[_Member] = []
        try:
            for position in range(1, size):
                members.append(_Member(position, ChildProcess(MODULE)))  # noqa: PERF401  ended where one fails
        except OSError as error:
            _end(_State(members))
            raise ReplicaError(f"the members of the replica can't be started: {error}") from error
        return cls(members)

    def form(self, settings: ModelSettings, folder: Path) -> torch.device:
        """Make all members one process group; returns the first one's device. Then load, and `await_loaded`."""
        from muster.models.transformers.tensor.lockstep import host_store, join_group

        timeout = max(SHORTEST_TIMEOUT, settings.request_timeout)
        self._store, port = host_store(timeout)
        for member in self._state.members:
            setup = Setup(
                folder=str(folder.resolve()),
                args=dict(settings.args),
                trust_remote_code=settings.trust_remote_code,
                position=member.position,
                size=self.size,
                port=port,
                timeout=timeout,
            )
            self._send(member, setup)
        self._wait_together(LOAD_SECONDS)
        return join_group(self._store, 0, self.size, timeout)

    def await_loaded(self) -> None:
        """Wait until all have loaded their parts. Raises what made one fail."""
        with self._state.changed:
            self._state.together = False
            self._state.changed.wait_for(
                lambda: all(member.reports or member.gone for member in self._state.members)
            )
            for member in self._state.members:
                if member.gone:
                    raise LostMemberError(
                        f"{member} ended while it loaded its part of the model; see the log"
                    )
                report = member.reports.popleft()
                if report.configuration:
                    raise ConfigurationError(report.message)
                if report.error is not None:
                    raise ReplicaError(f"{member} could not load its part of the model: {report.message}")

    def blame_the_lost(self, error: Exception) -> None:
        """Raise `LostMemberError` if an error of the first member came about because another is gone."""
        with self._state.changed:
            self._state.changed.wait_for(
                lambda: any(member.gone for member in self._state.members), timeout=NOTICE_SECONDS
            )
            for member in self._state.members:
                if member.gone and not member.reports:
                    raise LostMemberError(f"{member} is gone") from error

    def order(self, order: Order) -> None:
        """Tell all of a batch, whose tensors are broadcast next. Raises `ReplicaError` when a member is gone."""
        for member in self._state.members:
            self._send(member, order)
        self._wait_together(FAIL_SECONDS)

    def agree(self, own: Exception | None) -> None:
        """Make sure that the ordered batch went the same way on all members, and that they are still in step.

        Raises:
            ReplicaError: it did not; the members can't work together any more.
        """
        from muster.models.transformers.tensor.lockstep import collectives_begun

        begun = collectives_begun()
        state, seconds = self._state, FOLLOW_SECONDS if own is None else FAIL_SECONDS
        with state.changed:
            state.together = False
            state.changed.wait_for(
                lambda: all(member.reports for member in state.members) or any(m.gone for m in state.members),
                timeout=seconds,
            )
            problems = [_difference(member, own, begun) for member in state.members]
            if any(problems):
                raise ReplicaError("; ".join(filter(None, problems))) from own
            reports = [member.reports.popleft() for member in state.members]
        self.room_for_twice = all(report.room_for_twice for report in reports)

    def close(self) -> None:
        """End the others, and the group with them."""
        self._end()
        if self._store is not None:
            from muster.models.transformers.tensor.lockstep import leave_group

            leave_group()

    def _wait_together(self, patience: float) -> None:
        with self._state.changed:
            self._state.together, self._state.patience = True, patience

    def _send(self, member: _Member, message: Setup | Order) -> None:
        try:
            member.child.send(message)
        except OSError as error:
            raise LostMemberError(f"{member} is gone") from error


def _difference(member: _Member, own: Exception | None, begun: int) -> str:
    """How a member's last batch differs from the first member's, or an empty string."""
    if not member.reports:
        return f"{member} is gone" if member.gone else f"{member} does not follow"
    report = member.reports[0]
    expected = None if own is None else classify(own)
    if report.error != expected:
        return f"{member} says {report.message or 'that it has finished'!r}, the first member {str(own)!r}"
    if report.collectives != begun:
        return f"{member} has begun {report.collectives} collectives, the first member {begun}"
    return ""


def _listen(state: _State, member: _Member) -> None:
    """Take a member's reports; and end this process if it waits in a collective for one that has failed."""
    try:
        while True:
            report = msgspec.msgpack.decode(member.child.receive(), type=Report)
            with state.changed:
                member.reports.append(report)
                state.changed.notify_all()
            if report.error is not None:
                _insist(state, f"{member} failed: {report.message}")
    except (EOFError, OSError):
        with state.changed:
            member.gone = True
            state.patience = min(state.patience, FAIL_SECONDS)  # killed: nobody is about to say it better
            state.changed.notify_all()
    _insist(state, f"{member} is gone")


def _insist(state: _State, reason: str) -> None:
    """Gloo tells the main thread that a peer is lost; NCCL lets it wait inside the driver, where nothing reaches it."""
    with state.changed:
        if state.closed or state.changed.wait_for(lambda: not state.together, timeout=state.patience):
            return
    log.error("%s, and this process waits for it in a collective: ending the replica", reason)
    time.sleep(0.5)  # the log travels
    os._exit(EXIT_BROKEN)


def _end(state: _State) -> None:
    """Kill and reap: the others have nothing to save."""
    with state.changed:
        state.closed, state.together = True, False
        state.changed.notify_all()
    for member in state.members:
        member.child.end()
