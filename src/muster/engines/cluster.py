"""The event loop of a run with worker processes: serve them, watch them, and end in good order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from muster.coordinator.coordinator import Coordinator
from muster.coordinator.server import CoordinatorServer
from muster.core import ConfigurationError, Interruption, MusterError, RunError, start_up
from muster.core.interruption import handling, interrupted_by
from muster.engines.job import Job
from muster.engines.joining import listen_for_joiners, secret_removed
from muster.engines.replica import Replica
from muster.wire.messages import Broken, Stop, Welcome

log = logging.getLogger(__name__)

_TICK_SECONDS = 0.25
_GOODBYE_SECONDS = 15.0
_SAID = {"meeting": "could not meet the others", "loading": "could not load the model", "work": "failed"}
"""What a worker could not do; see `Broken`."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Workers that somebody else starts or places: their ranks, and how long they may take to come (seconds)."""

    ranks: Mapping[str, int] = field(default_factory=dict)
    """By the workers' names."""
    timeout: float = 600.0
    replicas: Mapping[str, int] | None = None
    """The replica of each worker, where nodes count them for themselves."""


class Cluster:
    """Runs one coordinator with its children and whoever else joins."""

    def __init__(self, coordinator: Coordinator, job: Job, secret: bytes, expected: Expected) -> None:
        self._coordinator, self._job, self._expected = coordinator, job, expected
        self._children: dict[str, Replica] = {}
        self._failures: dict[str, str] = {}
        self._unknown_since: dict[str, float] = {}
        self._told: set[str] = set()
        self._received: list[int] = []
        self._interrupted: signal.Signals | None = None
        self._at_once = False
        self._began = self._company_at = time.monotonic()
        self._forgot_absent = False
        self._abandoned: set[str] = set()
        """Workers that somebody else kept going, and has given up."""
        self._ending = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._session = secrets.token_hex(8)
        welcome = Welcome(
            job.backend,
            msgspec.Raw(msgspec.msgpack.encode(job.settings)),
            heartbeat_seconds=job.heartbeat_seconds,
            reconnect_seconds=job.worker_timeout,
            collect=job.collect,
            process_group=job.process_group,
            group_seconds=job.rendezvous_timeout,
            session=self._session,
        )
        self.server = CoordinatorServer(
            coordinator,
            welcome,
            secret,
            on_log=self._write_log,
            on_broken=self._broken,
            on_given_up=self._given_up,
            missing=lambda: self.missing,
            replicas=expected.replicas,
        )

    async def run(self, children: Sequence[Replica], on_sync: Callable[[], None]) -> None:
        """Run until the coordinator has finished; see `Engine.execute` for what is raised. The server listens."""
        start_up.done()
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_tell_errors)
        with handling(self._on_signal):
            synced = asyncio.create_task(self._sync(on_sync))
            try:
                with secret_removed(self._job):
                    await listen_for_joiners(self.server, self._job, self._session)
                    for child in children:
                        await self.add(child)
                    await self._until_over()
            finally:
                synced.cancel()
                await self._say_goodbye()
                await self.server.close()
        if self._received:
            raise interrupted_by(self._received[0])

    async def add(self, child: Replica) -> None:
        """Start one more replica and look after it."""
        self._children[child.name] = child
        if await self._launch(child):
            self._spawn(self._supervise(child))

    @property
    def missing(self) -> list[int]:
        """Ranks that never came, and those that were given up and may still exist.

        The launcher's numbers: where several ranks stand for one replica, its workers count replicas.
        """
        workers, expected = self._coordinator.workers, self._expected.ranks
        lost = [name for name in expected if name in workers and workers[name].state == "lost"]
        return sorted({expected[name] for name in (*self._absent(), *lost)})

    def fail(self, error: MusterError) -> None:
        """End the run with this error."""
        self.server.error = error
        self.server.changed.set()

    async def _until_over(self) -> None:
        coordinator, changed = self._coordinator, self.server.changed
        draining_since: float | None = None
        checked = time.monotonic()
        while not coordinator.finished:
            changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), _TICK_SECONDS)
            if time.monotonic() - checked > _TICK_SECONDS:  # however busy the others are
                checked = time.monotonic()
                self._check_workers()
            if self.server.error is not None:
                raise self.server.error
            if self.server.connected:
                self._company_at = time.monotonic()
            if self._interrupted is not None:
                draining_since = draining_since or time.monotonic()
                late = self._at_once or time.monotonic() - draining_since > self._job.drain_seconds
                idle = coordinator.outstanding == 0 and not coordinator.keepers
                if coordinator.finished or late or idle:
                    break
            elif not coordinator.finished and (reason := self._hopeless()) is not None:
                raise RunError(reason)

    # -- workers

    def _spawn(self, coroutine: Coroutine[object, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _supervise(self, child: Replica) -> None:
        """Replace a child whenever it dies, as long as that bears fruit."""
        while True:
            ended = await child.wait()
            worker = self._coordinator.workers.get(child.name)
            if worker is not None and worker.has_left and (self._ending or self._interrupted is not None):
                return
            reason = self._failures.pop(child.name, "") or ended
            self.server.drop(child.name)
            self._coordinator.lose(child.name, reason, time.monotonic())
            self.server.work_returned()
            child.failure = reason
            failed_to_load = worker is not None and worker.state == "failed"
            if failed_to_load or not child.may_restart(worker.answered if worker else 0):
                child.given_up = True
                if child.start.rank is not None:
                    self._coordinator.give_up(child.start.rank)
                self.server.unpark()
                self.server.changed.set()
                return
            if self._ending or self._interrupted is not None or self._coordinator.finished:
                return
            log.warning("%s %s; starting it again", child.name, reason)
            self._coordinator.progress.notice = f"{child.name} {reason}; started again"
            if not await self._launch(child):
                return

    async def _launch(self, child: Replica) -> bool:
        try:
            await child.launch()
        except OSError as error:
            child.failure, child.given_up = f"could not be started: {error}", True
            self.server.changed.set()
        return not child.given_up

    def _check_workers(self) -> None:
        for verdict in self._coordinator.check(time.monotonic()):
            log.warning("%s: %s", verdict.worker, verdict.reason)
            self._coordinator.progress.notice = f"{verdict.worker} was given up: {verdict.reason}"
            self._failures[verdict.worker] = verdict.reason
            self._coordinator.lose(verdict.worker, verdict.reason, time.monotonic())
            worker = self._coordinator.workers[verdict.worker]
            child = self._children.get(verdict.worker)
            # One that was only silent may come back. Whoever started a worker starts it again when it dies.
            how: Literal["abort", "dump"] = "abort" if worker.stuck and child is None else "dump"
            self.server.send(verdict.worker, Stop(how, verdict.reason))
            self.server.work_returned()
            if child is not None:
                self._spawn(child.abort())
        self._check_unknown(time.monotonic())
        if self._late() and not self._forgot_absent:
            self._forgot_absent = True
            if absent := self._absent():
                log.warning("%s never came; going on without", ", ".join(absent))
                self._coordinator.forget_absent()
                self.server.unpark()

    def _check_unknown(self, now: float) -> None:
        """End a process that the coordinator doesn't know: its silence never counts. A stopped one is ended sooner."""
        for child in self._children.values():
            worker = self._coordinator.workers.get(child.name)
            if not child.running or (worker is not None and worker.alive):
                self._unknown_since.pop(child.name, None)
                continue
            unknown = now - self._unknown_since.setdefault(child.name, now)
            stopped = child.stopped
            if unknown > (self._job.worker_timeout if stopped else self._expected.timeout):
                reason = "was stopped by a signal" if stopped else f"said nothing for {unknown:.0f} s"
                log.warning("%s %s: ending it", child.name, reason)
                self._failures[child.name] = reason
                del self._unknown_since[child.name]
                self._spawn(child.abort())

    def _broken(self, worker: str, broken: Broken) -> None:
        if broken.configuration and not self._coordinator.workers[worker].joined:
            self.fail(ConfigurationError(broken.failure.message))
        if broken.for_good and not self._coordinator.workers[worker].joined:
            self.fail(RunError(broken.failure.message))
        trace = broken.failure.traceback
        if broken.during == "loading" and trace is not None and trace not in self._told:
            self._told.add(trace)
            log.error("%s could not load the model:\n%s", worker, trace)
        self._failures[worker] = f"{_SAID[broken.during]}: {broken.failure.type}: {broken.failure.message}"
        self.server.changed.set()

    def _given_up(self, name: str, reason: str) -> None:
        """Whoever kept this worker going elsewhere starts it no more."""
        if (worker := self._coordinator.workers.get(name)) is None:
            return  # it counts as one that never came
        self._failures.setdefault(name, reason)
        self._abandoned.add(name)
        self._coordinator.lose(name, reason, time.monotonic(), "failed")
        if worker.rank is not None:
            self._coordinator.give_up(worker.rank)
        self.server.work_returned()
        self.server.changed.set()

    def _write_log(self, worker: str, text: str) -> None:
        try:
            with self._job.folder.log(worker).open("a", encoding="utf-8") as lines:
                lines.write(text)
        except OSError as error:  # no worker must go because of what it said; answers may still find room
            log.warning("a line of %s is missing from its log: %s", worker, error)

    # -- the end

    def _late(self) -> bool:
        return time.monotonic() - self._began > self._expected.timeout

    def _absent(self) -> list[str]:
        return sorted(name for name in self._expected.ranks if name not in self._coordinator.workers)

    def _may_come_back(self) -> bool:
        """Whether a rank may be starting its worker again."""
        now, workers = time.monotonic(), self._coordinator.workers
        return any(
            workers[name].state == "lost" and now - workers[name].seen < self._expected.timeout
            for name in self._expected.ranks
            if name in workers and name not in self._abandoned
        )

    def _hopeless(self) -> str | None:
        """Why nobody can work any more, or None while somebody can."""
        if any(not child.given_up for child in self._children.values()):
            return None
        if any(self._coordinator.workers[name].alive for name in self.server.connected):
            return None
        absent = self._absent()
        if (absent and not self._late()) or self._may_come_back():
            return None
        if self._job.listening is not None and self._may_be_joined():
            return None
        reasons = {child.name: child.failure for child in self._children.values()} | self._failures
        lines = [f"{name}: {reason}" for name, reason in sorted(reasons.items()) if reason]
        lines += [f"{name}: never came within {self._expected.timeout:.0f} s" for name in absent]
        lost = [w for w in self._coordinator.workers.values() if w.state == "lost" and w.name not in reasons]
        lines += [f"{worker.name}: lost" for worker in lost]
        if not self._children:
            lines.append(f"nobody has joined for {self._expected.timeout:.0f} s (--rendezvous-timeout)")
        return (
            "no replica is left to work:\n  "
            + "\n  ".join(lines)
            + f"\nThe logs are in {self._job.folder.logs}. What was answered is kept: "
            + "run the same command again to go on"
        )

    def _may_be_joined(self) -> bool:
        """Whether somebody may still come: a joined worker whose connection broke, or the first where all must join."""
        now = time.monotonic()
        cut = any(
            worker.joined and worker.state == "lost" and now - worker.seen < self._job.worker_timeout
            for worker in self._coordinator.workers.values()
        )
        return cut or (not self._children and now - self._company_at < self._expected.timeout)

    def _on_signal(self, number: int) -> None:
        unheard = bool(self._received) and self._interrupted is None
        self.interrupt(number)
        if unheard:  # the second time, and the loop is kept busy by somebody's metric: that ends here
            raise interrupted_by(number)

    def interrupt(self, number: int) -> None:
        """Drain as for this signal; may be called from any thread while the run goes on."""
        self._received.append(number)  # the loop may have no time for it any more
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._interrupt, number)

    def _interrupt(self, number: int) -> None:
        if self._interrupted is not None:  # the second time: don't wait for the requests in flight
            self._at_once = True
            self._job_over()
        self._interrupted = signal.Signals(number)
        self._coordinator.drain()
        self._coordinator.progress.notice = (
            "stopping: finishing the requests in flight (again to stop at once)"
        )
        self.server.broadcast(Stop("drain", f"the run was interrupted by {self._interrupted.name}"))
        self.server.unpark()
        self.server.changed.set()

    def _job_over(self) -> None:
        for child in self._children.values():
            child.kill()

    async def _say_goodbye(self) -> None:
        """Let the workers leave; then end those that didn't."""
        self._ending = True
        self._coordinator.drain()  # whoever asks now hears that it is over
        self.server.broadcast(Stop("over", "the run is over", self.missing))
        self.server.unpark()
        for child in self._children.values():
            worker = self._coordinator.workers.get(child.name)
            if worker is None or worker.state != "working":  # it loads a model that nobody needs any more
                child.kill()
        limit = time.monotonic() + (_GOODBYE_SECONDS if self._coordinator.finished else 2.0)
        while time.monotonic() < limit:
            workers = self._coordinator.workers
            staying = [name for name in self.server.connected if workers[name].state == "working"]
            if not staying and not any(child.running for child in self._children.values()):
                break
            await asyncio.sleep(0.02)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*(child.abort() for child in self._children.values()))

    async def _sync(self, on_sync: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(0.5)
            try:
                await asyncio.to_thread(on_sync)
            except MusterError as error:
                self.fail(error)
                return


def _tell_errors(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """As asyncio does, but for an interruption that reached a callback: `run` raises it."""
    if not isinstance(context.get("exception"), Interruption):
        loop.default_exception_handler(context)
