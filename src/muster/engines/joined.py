"""Replicas on this machine for a run that is coordinated elsewhere: started, kept going, and led out again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from muster.core import RunError
from muster.core.interruption import handling
from muster.engines.admission import Accepted
from muster.engines.local import child_environment
from muster.engines.placement import Shape
from muster.engines.supervision import Supervisor
from muster.machine.gpus import share
from muster.wire.endpoint import Endpoint
from muster.wire.messages import Offer
from muster.worker.joining import Start

_PATIENCE_SECONDS = 60.0
"""How long the coordinator may be out of reach when a replica has died."""


class JoinedReplicas:
    """The workers of one machine that joined a run."""

    def __init__(self, address: Endpoint, key: bytes, machine_id: str, say: Callable[[str], None]) -> None:
        """`machine_id`: as it has asked to join."""
        self._address, self._key, self._machine_id, self._say = address, key, machine_id, say
        self._supervisors: list[Supervisor] = []
        self._signals: list[int] = []

    async def work(self, offer: Offer, accepted: Accepted, gpus: Sequence[str]) -> int:
        """Work until the run is over, or a signal ends this; returns the exit status.

        The first SIGTERM or Ctrl-C finishes the requests in flight, a second one ends at once.

        Raises:
            RunError: the coordinator is gone, or no replica could be kept alive.
        """
        loop = asyncio.get_running_loop()

        def pass_on(number: int) -> None:
            loop.call_soon_threadsafe(self._interrupt, number)

        with handling(pass_on):
            return await self._work(offer, accepted, gpus)

    async def _work(self, offer: Offer, accepted: Accepted, gpus: Sequence[str]) -> int:
        count, settings = len(offer.places), accepted.settings
        each = settings.gpus_per_replica if settings.gpus_per_replica > 1 else None
        processes = Shape(settings.gpus_per_replica, settings.parallelism).processes
        self._supervisors = [
            Supervisor(
                self._start(offer, name, accepted),
                child_environment(share(gpus, position, count, each), count, processes),
                _PATIENCE_SECONDS,
                self._say,
            )
            for position, name in enumerate(offer.places)
        ]
        try:
            ended = await asyncio.gather(*(supervisor.work() for supervisor in self._supervisors))
        finally:
            for supervisor in self._supervisors:
                supervisor.kill()
        if self._signals:
            return 128 + self._signals[0]
        for outcome, supervisor in zip(ended, self._supervisors, strict=True):
            if outcome == "gone":
                raise RunError(f"no run can be joined at {self._address} any more: {supervisor.failure}")
            if outcome == "alone":
                raise RunError(supervisor.failure)
        if all(outcome == "given up" for outcome in ended):
            reasons = "\n  ".join(f"{each.child.name}: {each.failure}" for each in self._supervisors)
            raise RunError(f"no replica is left here:\n  {reasons}")
        return 0

    def _start(self, offer: Offer, name: str, accepted: Accepted) -> Start:
        return Start(
            name,
            None,
            [self._address],
            self._key.hex(),
            ship_logs=True,
            session=offer.session,
            machine_id=self._machine_id,
            backend=accepted.backend,
            settings=accepted.settings,
        )

    def _interrupt(self, number: int) -> None:
        self._signals.append(number)
        if len(self._signals) > 1:
            for supervisor in self._supervisors:
                supervisor.kill()
            return
        self._say("finishing the requests in flight (again to stop at once)")
        for supervisor in self._supervisors:
            supervisor.stop()
