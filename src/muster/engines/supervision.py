"""One worker kept going for a run that is coordinated elsewhere: by a launcher's rank, or a machine that joined.

The worker is a process of its own. Were a rank its model's process, it would end with it, and the launcher would answer
by ending all the others. This process is light: it holds no model and no torch.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from muster.engines.children import Child
from muster.engines.leftover_ranks import is_stopped
from muster.engines.status_query import NoStatus, query_status
from muster.wire.messages import StatusQuery, WorkerStatus
from muster.wire.worker_pipe import ALIVE_SECONDS, CoordinatorFound, Report, RunOver
from muster.worker.joining import Start
from muster.worker.worker import EXIT_ALONE, EXIT_BROKEN, EXIT_UNLOADABLE

log = logging.getLogger(__name__)

_SILENT_SECONDS = 3.0
"""Without a sign of life, after which the coordinator is asked what it thinks of the worker."""
_ASK_AGAIN_SECONDS = 2.0

Ended = Literal["left", "over", "gone", "alone", "given up"]
"""`left`: in good order, or as it was told to. `over`: the run is. `gone`: nobody is where the coordinator was.

`alone`: the coordinator can't be reached, or never could.
"""


class Supervisor:
    """Starts a worker, and another one in its place when it dies or stands still."""

    def __init__(
        self, start: Start, env: Mapping[str, str], patience: float, say: Callable[[str], None]
    ) -> None:
        """`patience`: how long a coordinator may be out of reach (seconds) when a worker has died."""
        self.child = Child(start, env, None, on_report=self._hear)
        self.status = 0
        """The last worker's exit status, as a shell would give it."""
        self.starts = 0
        self.met = bool(start.addresses)
        """Whether it is known where the coordinator is."""
        self.missing: list[int] = []
        """Ranks that may be stuck, as the coordinator said at the end."""
        self.failure = ""
        """Why the worker was given up, or has no coordinator."""
        self._session = start.session
        self._patience, self._say = patience, say
        self._told_to_stop = self._over = False
        self._heard = 0.0

    async def work(self) -> Ended:
        """Keep a worker going until the run is over, it was told to stop, or starting it bears no fruit."""
        try:
            while True:
                try:
                    ended = await self._once()
                except OSError as error:
                    self.failure = f"could not be started: {error}"
                    return await self._give_up()
                if (outcome := await self._judge(ended)) is not None:
                    return outcome
                self._say(f"{self.child.name} {ended}; starting it again")
        finally:
            self.child.kill()

    def stop(self) -> None:
        """Have the worker finish its requests in flight, and leave; none is started again."""
        self._told_to_stop = True
        self.child.drain()

    def kill(self) -> None:
        """End it at once."""
        self._told_to_stop = True
        self.child.kill()

    async def until_over(self) -> None:
        """Wait for the run's end without a worker."""
        while not self._told_to_stop and isinstance(await self._ask(), WorkerStatus):
            await asyncio.sleep(_ASK_AGAIN_SECONDS)

    async def _once(self) -> str:
        """One start, to its end, in words."""
        child = self.child
        self.starts += 1
        self._heard = time.monotonic()
        await child.launch()
        if self._told_to_stop:  # between the death of one and the start of the next
            child.drain()
        watched = asyncio.create_task(self._watch())
        try:
            ended = await child.wait()
        finally:
            watched.cancel()
        assert child.process is not None
        status = child.process.returncode or 0
        self.status = 128 - status if status < 0 else status
        return ended

    async def _judge(self, ended: str) -> Ended | None:
        """What a worker's end means; None: another one is to be started."""
        if self._over:
            return "over"
        if self._told_to_stop:
            return "left"
        answered = 0
        if self.met:
            standing = await self._ask()
            if isinstance(standing, NoStatus):
                return "left" if self.status == 0 else self._without(standing)
            if standing.session != self._session:
                self.failure = "the run was started again: join it again"
                return "alone"
            answered = standing.answered
            self.child.given_up = standing.failed
        elif self.status in (0, EXIT_ALONE):
            return "alone" if self.status else "left"  # it has said why
        told = self.status in (EXIT_BROKEN, EXIT_UNLOADABLE)
        self.failure = "it failed; the reason is in its log" if told else ended
        if self.child.given_up or not self.child.may_restart(answered):
            return await self._give_up()
        return "left" if self._told_to_stop else None

    def _without(self, standing: NoStatus) -> Ended:
        self.failure = standing.reason
        match standing.state:
            case "over":
                return "over"
            case "gone":
                return "gone"
            case "unreachable":
                return "alone"

    async def _give_up(self) -> Ended:
        self._say(f"{self.child.name} is given up: {self.failure}")
        if self.met:
            await self._ask(given_up=self.failure)
        return "given up"

    async def _watch(self) -> None:
        """End a worker that stands still, when the coordinator has given it up or has no more use for it."""
        while True:
            await asyncio.sleep(ALIVE_SECONDS)
            if time.monotonic() - self._heard < _SILENT_SECONDS:
                continue
            standing = await self._ask_once() if self.met else None
            if isinstance(standing, NoStatus):
                if standing.state != "unreachable":
                    self._over = True
                    self.child.kill()
                    return
                continue
            assert self.child.process is not None
            pid = self.child.process.pid
            known = standing is not None and standing.pid == pid
            # One that the coordinator doesn't know may be busy with its start; not if it is stopped.
            if standing.lost if known and standing is not None else is_stopped(pid):
                self._say(f"{self.child.name} stands still (process {pid}): ending it")
                await self.child.abort()
                return

    async def _ask(self, given_up: str = "") -> WorkerStatus | NoStatus:
        """Ask the coordinator, again while it can't be reached and patience lasts."""
        limit = time.monotonic() + self._patience
        while True:
            answer = await self._ask_once(given_up)
            late = self._told_to_stop or time.monotonic() > limit
            if isinstance(answer, WorkerStatus) or answer.state != "unreachable" or late:
                return answer
            await asyncio.sleep(_ASK_AGAIN_SECONDS)

    async def _ask_once(self, given_up: str = "") -> WorkerStatus | NoStatus:
        start = self.child.start
        query = StatusQuery(start.name, given_up)
        answer = await asyncio.to_thread(query_status, start.addresses, bytes.fromhex(start.secret), query)
        if isinstance(answer, WorkerStatus) and not self._session:
            self._session = answer.session
        return answer

    def _hear(self, report: Report) -> None:
        self._heard = time.monotonic()
        match report:
            case CoordinatorFound():
                self.met = True
                self.child.start = replace(self.child.start, addresses=report.addresses, secret=report.secret)
            case RunOver():
                self._over = True
                self.missing = report.missing
            case _:
                pass
