"""One replica in this very process: the fastest start, and the simplest to debug."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from muster.coordinator.coordinator import Coordinator
from muster.core import MusterError, RunError, start_up
from muster.core.encoded import Encoded
from muster.core.foreign_code import ForeignCode
from muster.core.interruption import handling, interrupted_by
from muster.core.saying import tell
from muster.engines.job import Job
from muster.engines.replica import MOST_FRUITLESS_STARTS
from muster.machine.ranks import host_name
from muster.models.protocol import Model
from muster.worker.stream import ClaimedRequests, Pulled
from muster.worker.worker import capacity, load_model, log_notes, notes_of, video_form

log = logging.getLogger(__name__)

NAME = "worker-0"
_LOOK_SECONDS = 0.5
_INTERRUPTIONS = 3
_INTERRUPTION_SECONDS = 2.0
"""How often, and with what pause, a backend is interrupted that was given its time to finish."""


class InlineLink:
    """Calls the coordinator directly. A backend's background thread may pull while the main thread answers."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._changed = threading.Condition(threading.RLock())
        self._stale = False

    def pull(self, limit: int, *, idle: bool, park: bool) -> Pulled:
        """Claim; waits for this worker's own answers where the scheduler withholds more, or for a task's code."""
        with self._changed:
            while not self._stale:
                self._coordinator.go_on(time.monotonic())
                granted = self._coordinator.pull(NAME, limit, idle, time.monotonic())
                more = park and granted.state == "empty" and self._coordinator.workload.rounds.waiting
                if granted.state != "wait" and not more:
                    return Pulled(granted.requests, granted.state)
                self._changed.wait(timeout=1.0)
        return Pulled([], "finished")

    def deliver(self, index: int, answer: Encoded) -> None:
        """Hand over an answer."""
        with self._changed:
            self._coordinator.answer(NAME, [(index, answer)], time.monotonic())
            self._changed.notify_all()

    def wake(self) -> None:
        """Look again whether there is something to claim."""
        with self._changed:
            self._changed.notify_all()

    def rejoin(self, reason: str, slots: int, batched: bool) -> InlineLink:
        """The model failed: its work goes back and it starts again with nothing, over the link that is returned.

        Threads that the failed `generate` left waiting in `pull` get nothing more: what they claimed nobody would
        answer.
        """
        successor = InlineLink(self._coordinator)
        with self._changed:
            successor._changed = self._changed
            self._stale = True
            now = time.monotonic()
            self._coordinator.lose(NAME, reason, now)
            self._coordinator.join(NAME, 0, host_name(), os.getpid(), now)
            self._coordinator.ready(NAME, slots, batched, 0.0, now)
            self._coordinator.progress.workers[NAME].restarts += 1
            self._changed.notify_all()
        return successor

    @contextmanager
    def locked(self) -> Iterator[Coordinator]:
        """The coordinator, while nothing else uses it."""
        with self._changed:
            yield self._coordinator

    @contextmanager
    def free(self, seconds: float) -> Iterator[Coordinator | None]:
        """The same; None where something else has used it for so long."""
        if not self._changed.acquire(timeout=seconds):
            yield None
            return
        try:
            yield self._coordinator
        finally:
            self._changed.release()


class InlineEngine:
    """Implements `Engine` without a second process."""

    name = "inline"

    def execute(self, coordinator: Coordinator, job: Job, on_sync: Callable[[], None]) -> None:
        """See `Engine`."""
        link = InlineLink(coordinator)
        coordinator.workload.rounds.announce_by(link.wake)
        coordinator.join(NAME, 0, host_name(), os.getpid(), time.monotonic())
        with (
            _logging_to(job.folder.log(NAME)),
            _signals(coordinator) as received,
            _watch(link, job, on_sync, received) as watch,
        ):
            started = time.monotonic()
            try:
                with ForeignCode():
                    model = load_model(job.backend, job.settings)
                    slots, batched = capacity(model)
            except MusterError:
                raise
            except Exception as error:
                log.error("the model could not be loaded:\n%s", traceback.format_exc())
                raise RunError(f"the model could not be loaded: {type(error).__name__}: {error}") from error
            start_up.done()
            with link.locked():
                coordinator.ready(NAME, slots, batched, time.monotonic() - started, time.monotonic())
                coordinator.videos = video_form(model)
                notes = notes_of(model)
                coordinator.progress.note(notes)
                log_notes(notes)
            self._work(link, model, coordinator)
            if watch.error is not None:
                raise watch.error
        if received:
            raise interrupted_by(received[0])

    def announce_end(self) -> None:
        """Nobody comes by himself."""

    def close(self, error: BaseException | None) -> None:
        """Nothing is left to be done."""

    def _work(self, link: InlineLink, model: Model, coordinator: Coordinator) -> None:
        failures, answered, told = 0, 0, ""
        stream = ClaimedRequests(link)
        while not coordinator.finished and not coordinator.draining:
            try:
                with ForeignCode():
                    stream.answers_from(model.generate)
            except MusterError:
                raise
            except Exception as error:
                told = self._tell(traceback.format_exc(), told)
                link = link.rejoin(f"{type(error).__name__}: {error}", *capacity(model))
                stream = ClaimedRequests(link)
                done = coordinator.workers[NAME].answered
                failures, answered = 0 if done > answered else failures + 1, done
                if failures >= MOST_FRUITLESS_STARTS:
                    raise RunError(
                        f"the model failed {failures} times in a row: {type(error).__name__}: {error}"
                    ) from error
            with link.locked():
                coordinator.beat(NAME, stream.busy_seconds)

    @staticmethod
    def _tell(trace: str, told: str) -> str:
        """Show what the model raised; only that it was the same, where it was."""
        if trace == told:
            log.error("the model failed in the same way again")
        else:
            log.error("the model failed:\n%s", trace)
        return trace


class _Watch(threading.Thread):
    """Syncs the journal while the model works, bounds a drain, and ends the process if the model never answers."""

    def __init__(
        self, link: InlineLink, job: Job, on_sync: Callable[[], None], received: Sequence[int]
    ) -> None:
        super().__init__(name="muster-watch", daemon=True)
        self._link, self._job, self._on_sync, self._received = link, job, on_sync, received
        self._over = threading.Event()
        self.error: MusterError | None = None

    def run(self) -> None:
        draining_since: float | None = None
        while not self._over.wait(_LOOK_SECONDS):
            if self._received:
                draining_since = draining_since or time.monotonic()
                if time.monotonic() - draining_since > self._job.drain_seconds:
                    self._interrupt()
                    return
            try:
                self._on_sync()
            except MusterError as error:
                self.error = error
                with self._link.locked() as coordinator:
                    coordinator.drain()
                return
            with self._link.free(_LOOK_SECONDS) as coordinator:
                if coordinator is None:  # a metric scores an answer as it comes, and takes its time
                    continue
                now = time.monotonic()
                coordinator.workers[NAME].seen = now  # this thread runs, so the process does
                verdicts = coordinator.check(now)
            if verdicts:
                self._abandon(verdicts[0].reason)

    def stop(self) -> None:
        self._over.set()
        self.join()

    def _interrupt(self) -> None:
        """As a second Ctrl-C: a signal, since only that interrupts what the main thread waits for.

        Where the backend swallows it, again and again, the process ends here.
        """
        for _ in range(_INTERRUPTIONS):
            signal.pthread_kill(threading.main_thread().ident or 0, self._received[0])
            if self._over.wait(_INTERRUPTION_SECONDS):
                return
        with suppress(MusterError):
            self._on_sync()
        self._end("the backend doesn't let itself be interrupted", 128 + self._received[0])

    def _abandon(self, reason: str) -> None:
        self._end(f"{reason} (--engine local has a stuck replica replaced)", RunError.exit_code)

    def _end(self, reason: str, status: int) -> None:
        with self._job.folder.log(NAME).open("a", encoding="utf-8") as stack:
            faulthandler.dump_traceback(file=stack)
        tell(
            f"\nmuster: {reason}. The stack is in {self._job.folder.log(NAME)}. Everything answered so far is kept: "
            "run the same command again to go on"
        )
        os._exit(status)


class _Log(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Go on without the line."""


@contextmanager
def _logging_to(file: Path) -> Iterator[None]:
    """Have what Muster logs in this process written where a worker's log would be; a full disk costs only that."""
    handler = _Log(file, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    ours = logging.getLogger("muster")
    before = ours.level
    ours.setLevel(min(logging.INFO, ours.getEffectiveLevel()))
    ours.addHandler(handler)
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(before)
        handler.close()


@contextmanager
def _watch(
    link: InlineLink, job: Job, on_sync: Callable[[], None], received: Sequence[int]
) -> Iterator[_Watch]:
    watch = _Watch(link, job, on_sync, received)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


@contextmanager
def _signals(coordinator: Coordinator) -> Iterator[list[int]]:
    """The first signal drains, a second one interrupts at once. Only the main thread can do that."""
    received: list[int] = []

    def handle(number: int) -> None:
        received.append(number)
        coordinator.drain()
        coordinator.progress.notice = "stopping: finishing the requests in flight (again to stop at once)"
        if len(received) > 1 or coordinator.workers[NAME].state == "loading":
            raise interrupted_by(received[0])

    with handling(handle):
        yield received
