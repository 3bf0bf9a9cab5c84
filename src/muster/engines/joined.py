"""Replicas on this machine for a run that is coordinated elsewhere: started, watched, replaced, and led out again."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress

from muster.core import ConfigurationError, RunError
from muster.distributed.acceptance import Accepted
from muster.distributed.devices import share
from muster.distributed.endpoint import Endpoint
from muster.distributed.knocking import knock_at
from muster.distributed.messages import Knock, Offer, Place, Stop
from muster.distributed.worker import EXIT_BROKEN, Start
from muster.engines.children import Child
from muster.engines.local import child_environment
from muster.engines.placement import Shape


class JoinedReplicas:
    """The workers of one machine that joined a run."""

    def __init__(self, address: Endpoint, key: bytes, knock: Knock, say: Callable[[str], None]) -> None:
        """`knock` was answered with an offer; it is repeated to hear how the workers are doing."""
        self._address, self._key, self._knock, self._say = address, key, knock, say
        self._children: list[Child] = []
        self._signals: list[signal.Signals] = []
        self._failure = ""

    async def work(self, offer: Offer, accepted: Accepted, gpus: Sequence[str]) -> int:
        """Work until the run is over, or a signal ends this; returns the exit status.

        The first SIGTERM or Ctrl-C finishes what is started, a second one ends at once.

        Raises:
            RunError: the coordinator is gone, or no replica could be kept alive.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt, number)
        count, settings = len(offer.places), accepted.settings
        each = settings.gpus_per_replica if settings.gpus_per_replica > 1 else None
        processes = Shape(settings.gpus_per_replica, settings.parallelism).processes
        self._children = [
            Child(
                self._start(offer, place, accepted),
                child_environment(share(gpus, position, count, each), count, processes),
                None,
            )
            for position, place in enumerate(offer.places)
        ]
        try:
            for child in self._children:
                await child.launch()
            await asyncio.gather(*(self._supervise(child, offer.session) for child in self._children))
        finally:
            for child in self._children:
                child.kill()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
        if self._signals:
            return 128 + self._signals[0]
        if self._failure:
            raise RunError(self._failure)
        if all(child.given_up for child in self._children):
            reasons = "\n  ".join(f"{child.name}: {child.failure}" for child in self._children)
            raise RunError(f"no replica is left here:\n  {reasons}")
        return 0

    def _start(self, offer: Offer, place: Place, accepted: Accepted) -> Start:
        return Start(
            place.name,
            None,
            [self._address],
            self._key.hex(),
            ship_logs=True,
            session=offer.session,
            party=self._knock.party,
            backend=accepted.backend,
            settings=accepted.settings,
        )

    async def _supervise(self, child: Child, session: str) -> None:
        """Start a replica again whenever it dies, as long as the run goes on and that bears fruit."""
        while True:
            ended = await child.wait()
            assert child.process is not None
            status = child.process.returncode
            if self._signals or self._failure or status == 0:
                return
            place = await self._place_of(child, session)
            if place is None or self._signals:
                return
            child.failure = ended if status != EXIT_BROKEN else "it failed; the reason is in its log"
            if place.failed:
                child.given_up = True
            if child.given_up or not child.may_restart(place.answered):
                self._say(f"{child.name} is given up: {child.failure}")
                return
            self._say(f"{child.name} {ended}; starting it again")
            await child.launch()

    async def _place_of(self, child: Child, session: str) -> Place | None:
        """What the coordinator has seen of a worker that died; None where nobody wants it any more."""
        try:
            answer = await asyncio.to_thread(knock_at, self._address, self._key, self._knock)
        except (RunError, ConfigurationError) as error:
            self._failure = self._failure or str(error)
            return None
        if isinstance(answer, Stop):
            return None
        if answer.session != session:
            self._failure = f"the run at {self._address} was started again: join it again"
            return None
        return next((place for place in answer.places if place.name == child.name), None)

    def _interrupt(self, number: signal.Signals) -> None:
        self._signals.append(number)
        if len(self._signals) > 1:
            for child in self._children:
                child.kill()
            return
        self._say("finishing what is started (again to stop at once)")
        for child in self._children:
            with suppress(ProcessLookupError):
                child.drain()
