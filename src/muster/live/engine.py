"""The coordinator of a live evaluation: serves the ranks' links from a thread of the first rank's process.

There is nobody to start again: a rank is somebody's training process. So the first failure is everybody's.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Mapping

import msgspec

from muster.coordinator.coordinator import Coordinator
from muster.coordinator.server import CoordinatorServer
from muster.core import RunError
from muster.engines.job import Job
from muster.engines.launcher import listen_addresses, worker_name
from muster.live.rank_group import Arrival, Meeting, RankGroup
from muster.machine.ranks import Ranks
from muster.wire.messages import Broken, Stop, Welcome

_TICK_SECONDS = 0.25
_RECONNECT_SECONDS = 10.0
"""How long the connection of a rank may be cut."""
_GOODBYE_SECONDS = 15.0
"""How long ranks may take to leave when all is answered."""


class LiveEngine:
    """Implements `Engine` with ranks that are there already."""

    name = "live"

    def __init__(self, rank_group: RankGroup, arrivals: Mapping[int, Arrival], leading: list[int]) -> None:
        """`leading`: the ranks that work, each for its copy of the model."""
        self._rank_group, self._arrivals = rank_group, arrivals
        self._ranks = {worker_name(rank): rank for rank in leading}
        self._lost_at: dict[str, float] = {}
        self._failure: str | None = None

    def execute(self, coordinator: Coordinator, job: Job, on_sync: Callable[[], None]) -> None:
        """See `Engine`. Raises `RunError` as soon as one rank can't go on."""
        asyncio.run(self._execute(coordinator, job, on_sync))

    def announce_end(self) -> None:
        """All ranks called together."""

    def close(self, error: BaseException | None) -> None:
        """Nothing was started."""

    async def _execute(self, coordinator: Coordinator, job: Job, on_sync: Callable[[], None]) -> None:
        secret = secrets.token_bytes(32)
        welcome = Welcome(
            self.name,
            msgspec.Raw(msgspec.msgpack.encode(None)),
            heartbeat_seconds=job.heartbeat_seconds,
            reconnect_seconds=min(_RECONNECT_SECONDS, job.worker_timeout),
            session=secrets.token_hex(8),
        )
        server = CoordinatorServer(
            coordinator,
            welcome,
            secret,
            on_log=lambda _worker, _text: None,  # the ranks' logs are the training job's
            on_broken=self._broken,
        )
        reason = "one rank can't go on"
        try:
            bound, hosts = listen_addresses(_machines(self._arrivals))
            port = await server.start(bound)
            self._rank_group.open(
                Meeting([(host, port) for host in hosts], secret.hex(), list(self._ranks.values()))
            )
            await self._until_over(coordinator, server, job, on_sync)
            reason = "all is answered"
        finally:
            coordinator.drain()
            server.broadcast(Stop("over", reason))
            server.unpark()
            limit = time.monotonic() + (_GOODBYE_SECONDS if coordinator.finished else 1.0)
            while server.connected and time.monotonic() < limit:
                await asyncio.sleep(0.01)
            await server.close()

    async def _until_over(
        self, coordinator: Coordinator, server: CoordinatorServer, job: Job, on_sync: Callable[[], None]
    ) -> None:
        opened = looked = time.monotonic()
        while not coordinator.finished:
            server.changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(server.changed.wait(), _TICK_SECONDS)
            if server.error is not None:
                raise server.error
            if time.monotonic() - looked > _TICK_SECONDS or self._failure is not None:
                looked = time.monotonic()
                await asyncio.to_thread(on_sync)
                self._look(coordinator, looked, late=looked - opened > job.rendezvous_timeout)

    def _look(self, coordinator: Coordinator, now: float, *, late: bool) -> None:
        """Raise `RunError` if somebody can't go on."""
        if (failure := self._rank_group.failure or self._failure) is not None:
            raise RunError(failure)
        for verdict in coordinator.check(now):
            raise RunError(f"rank {self._ranks[verdict.worker]}: {verdict.reason}")
        for name, rank in self._ranks.items():
            worker = coordinator.workers.get(name)
            if worker is None and late:
                raise RunError(f"rank {rank} came, and didn't begin to work (rendezvous_timeout)")
            if worker is not None and worker.state in ("lost", "failed"):
                if now - self._lost_at.setdefault(name, now) > _RECONNECT_SECONDS:
                    raise RunError(f"rank {rank} is gone: its connection to rank 0 ended")
            else:
                self._lost_at.pop(name, None)

    def _broken(self, _worker: str, broken: Broken) -> None:
        self._failure = broken.failure.message


def _machines(arrivals: Mapping[int, Arrival]) -> Ranks:
    """Rank 0 among its peers, as far as it matters for where to listen."""
    here = sum(arrival.machine == arrivals[0].machine for arrival in arrivals.values())
    return Ranks(0, len(arrivals), 0, here, "torchrun")
