"""A worker's link to a coordinator in another process: claims ahead, batches answers, reconnects."""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Callable, Iterator

import msgspec

from muster.core import Completion, Request, RunError
from muster.core.text import valid_text
from muster.distributed import messages as wire_messages
from muster.distributed.messages import (
    Acknowledged,
    Answers,
    Beat,
    Broken,
    Collect,
    FromWorker,
    Grant,
    Hello,
    Leave,
    Log,
    Pledge,
    Pull,
    Ready,
    Refused,
    Stop,
    Welcome,
)
from muster.distributed.stream import Pulled
from muster.distributed.wire import Connection

log = logging.getLogger(__name__)

Connect = Callable[[], Connection]

_MOST_AHEAD = 512
_RETRY_SECONDS = 0.25
_CHUNK_BYTES = 16 << 20
_OVERHEAD_BYTES = 200
"""What an answer takes beside its text."""


def _chunks(answers: list[tuple[int, Completion]]) -> Iterator[list[tuple[int, Completion]]]:
    """As many answers at a time as fit well into a frame."""
    chunk: list[tuple[int, Completion]] = []
    size = 0
    for answer in answers:
        chunk.append(answer)
        size += _OVERHEAD_BYTES + 4 * len(answer[1].text or "")
        if size > _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class LostCoordinatorError(RunError):
    """The coordinator is gone, or refuses this worker."""


class SocketLink:
    """Implements `Link`. Three threads: the caller's, a reader, and a sender that also beats."""

    def __init__(self, connect: Connect, hello: Hello, on_stop: Callable[[Stop, bool], None]) -> None:
        """Connect and wait for the coordinator's welcome.

        Args:
            connect: opens a new connection; raises OSError or HandshakeError.
            hello: sent after every connection.
            on_stop: called in the reader's thread when the coordinator says `Stop`, or (`over`, with True) is gone.

        Raises:
            LostCoordinatorError: the coordinator refuses this worker, or hangs up before it said welcome.
        """
        self._connect, self._hello, self._on_stop = connect, hello, on_stop
        self._changed = threading.Condition()
        self._connection = connect()
        self._outbox: collections.deque[FromWorker] = collections.deque()
        self._answers: list[tuple[int, Completion]] = []
        self._unacknowledged: dict[int, Answers | Pledge] = {}
        self._pledges: list[int] = []
        self._kept: dict[int, Completion] = {}
        self._collects: collections.deque[Collect] = collections.deque()
        self._number = 0
        self._pull: Pull | None = None
        self._granted: collections.deque[tuple[int, Request]] = collections.deque()
        self._state: str = "work"
        self._ready: Ready | None = None
        self._window = 0
        self._waited_at = time.monotonic()
        self._busy: Callable[[], float] = lambda: 0.0
        self._closing = False
        self._failed: str | None = None
        self.drained = False
        self.welcome = self._introduce()
        self._gathering = self.welcome.collect == "gather"
        self._reader = threading.Thread(target=self._read, name="muster-link-reader", daemon=True)
        self._sender = threading.Thread(target=self._send, name="muster-link-sender", daemon=True)
        self._reader.start()
        self._sender.start()

    # -- what the worker calls

    def ready(self, ready: Ready, busy: Callable[[], float]) -> None:
        """Tell that the model is loaded; `busy` gives the busy seconds for every heartbeat."""
        self._ready, self._busy = ready, busy
        self._post(ready)

    def pull(self, limit: int, *, idle: bool, park: bool) -> Pulled:
        """Claim; see `Link`. Single requests are claimed ahead, as many as hide the way to the coordinator."""
        with self._changed:
            if self._over:  # what was granted and not started goes back
                self._check()
                return Pulled([], "finished")
            if self._granted:
                requests = self._from_granted(limit)
                self._claim_ahead(limit)
                return Pulled(requests, "work")
            started = time.monotonic()
            ask = limit if limit > 1 else max(1, self._window)
            self._ask(ask, idle, park)
            self._changed.wait_for(lambda: self._granted or self._pull is None or self._over)
            self._check()
            if not self._granted or self._over:
                return Pulled([], "finished" if self._over or self._state == "finished" else "empty")
            if limit == 1:
                self._widen(time.monotonic() - started)
            return Pulled(self._from_granted(limit), "work")

    def deliver(self, index: int, completion: Completion) -> None:
        """Queue an answer for sending."""
        with self._changed:
            self._check()
            if self._gathering:
                self._kept[index] = completion
                self._pledges.append(index)
            else:
                self._answers.append((index, completion))
            self._changed.notify_all()

    @property
    def gathering(self) -> bool:
        """Whether answers are kept until they are collected."""
        return self._gathering

    def kept(self) -> list[tuple[int, Completion]]:
        """The answers that this worker keeps."""
        with self._changed:
            return list(self._kept.items())

    def send_answers(self, answers: list[tuple[int, Completion]]) -> None:
        """Send answers that were kept, by this worker or by others that gathered them here."""
        with self._changed:
            self._answers += answers
            self._changed.notify_all()

    def next_collect(self) -> Collect | None:
        """Wait for what is to be done with kept answers; None when the run is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._collects or self._over)
            self._check()
            return self._collects.popleft() if self._collects else None

    def log(self, text: str) -> None:
        """Send lines for this worker's log file."""
        self._post(Log(valid_text(text)))

    def drain(self) -> None:
        """Claim nothing more; a waiting pull ends."""
        with self._changed:
            self.drained = True
            self._changed.notify_all()

    def broken(self, message: Broken) -> None:
        """Tell that this replica has failed; the worker ends after this."""
        self._finish(message)

    def leave(self) -> None:
        """Give back what was never started and say goodbye, after all answers have arrived."""
        with self._changed:
            released = [index for index, _request in self._granted]
            self._granted.clear()
            self._answers += self._kept.items()  # answers that nobody wants any more are harmless
            self._kept.clear()
        self._finish(Leave(released, self._busy()))

    # -- claims

    @property
    def _over(self) -> bool:
        return self.drained or self._failed is not None

    def _from_granted(self, limit: int) -> list[tuple[int, Request]]:
        return [self._granted.popleft() for _ in range(min(limit, len(self._granted)))]

    def _ask(self, limit: int, idle: bool, park: bool) -> None:
        self._number += 1
        self._pull = Pull(self._number, limit, idle, park)
        self._outbox.append(self._pull)
        self._changed.notify_all()

    def _claim_ahead(self, limit: int) -> None:
        if limit == 1 and self._pull is None and not self._over and 2 * len(self._granted) < self._window:
            self._ask(self._window, idle=False, park=False)

    def _widen(self, waited: float) -> None:
        """The window doubles while waiting for claims takes more than a tenth of the time between two waits."""
        now = time.monotonic()
        since, self._waited_at = now - self._waited_at, now
        if waited > 0.1 * since:
            self._window = min(_MOST_AHEAD, max(1, 2 * self._window))

    # -- sending

    def _post(self, message: FromWorker) -> None:
        with self._changed:
            self._outbox.append(message)
            self._changed.notify_all()

    def _send(self) -> None:
        beat_due = time.monotonic()
        while True:
            with self._changed:
                pause = max(0.0, beat_due - time.monotonic())
                self._changed.wait_for(
                    lambda: self._outbox or self._answers or self._pledges or self._closing or self._failed,
                    timeout=pause,
                )
                if self._failed or (self._closing and not (self._outbox or self._answers or self._pledges)):
                    return
                batch = self._collect()
                connection = self._connection
            if time.monotonic() >= beat_due:
                batch.append(Beat(self._busy()))
                beat_due = time.monotonic() + self.welcome.heartbeat_seconds
            try:
                for message in batch:
                    connection.send(wire_messages.encode(message))
            except OSError:
                connection.close()  # the reader notices and reconnects; answers are kept until acknowledged
            except Exception as error:
                log.exception("a message could not be sent")
                with self._changed:
                    self._failed = f"a message could not be sent: {error}"
                    self._changed.notify_all()
                connection.close()

    def _collect(self) -> list[FromWorker]:
        batch: list[FromWorker] = []
        for some in _chunks(self._answers):
            self._number += 1
            answers = Answers(self._number, some)
            self._unacknowledged[answers.number] = answers
            batch.append(answers)
        self._answers = []
        if self._pledges:
            self._number += 1
            pledge = Pledge(self._number, self._pledges)
            self._pledges = []
            self._unacknowledged[pledge.number] = pledge
            batch.append(pledge)
        batch += self._outbox
        self._outbox.clear()
        return batch

    def _finish(self, last: FromWorker) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: not (self._answers or self._pledges or self._unacknowledged) or self._failed,
                timeout=self.welcome.reconnect_seconds,
            )
            self._outbox.append(last)
            self._closing = True
            self._changed.notify_all()
        self._sender.join(timeout=10)
        self._connection.close()

    # -- receiving

    def _introduce(self) -> Welcome:
        self._connection.send(wire_messages.encode(self._hello))
        payload = self._connection.receive()
        if payload is None:
            raise LostCoordinatorError("the coordinator hung up before it said welcome")
        message = wire_messages.decode_from_coordinator(payload)
        if isinstance(message, Welcome):
            return message
        reason = message.reason if isinstance(message, Refused | Stop) else repr(message)
        raise LostCoordinatorError(f"the coordinator refused this worker: {reason}")

    def _read(self) -> None:
        while True:
            payload = self._connection.receive()
            if payload is not None:
                try:
                    self._take_in(wire_messages.decode_from_coordinator(payload))
                    continue
                except msgspec.DecodeError:
                    log.exception("the coordinator sent something unreadable")
                    self._connection.close()
            if self._closing or self.drained:
                return
            if not self._reconnect():
                self._on_stop(Stop("over", self._failed or "the link is closed"), True)
                return

    def _take_in(self, message: wire_messages.FromCoordinator) -> None:
        with self._changed:
            match message:
                case Grant():
                    self._granted.extend(message.requests)
                    if self._pull is not None and message.number == self._pull.number:
                        self._pull, self._state = None, message.state
                case Acknowledged():
                    for number in [n for n in self._unacknowledged if n <= message.number]:
                        del self._unacknowledged[number]
                case Collect():
                    self._collects.append(message)
                case Stop(how="drain" | "over"):
                    self.drained = True
                    if message.how == "over":
                        self._kept.clear()  # all are in the coordinator's hands
                case Refused():
                    self._failed = message.reason
                case Welcome():
                    pass
            self._changed.notify_all()
        if isinstance(message, Stop):
            self._on_stop(message, False)

    def _reconnect(self) -> bool:
        """Come back after a cut: introduce ourselves again, repeat what was not acknowledged."""
        limit = time.monotonic() + self.welcome.reconnect_seconds
        log.warning("the connection to the coordinator broke; reconnecting")
        self._connection.close()  # the sender may still be waiting in it
        while time.monotonic() < limit and not self._closing:
            try:
                connection = self._connect()
                connection.send(wire_messages.encode(self._hello))
            except (OSError, RunError) as error:
                log.debug("no coordinator yet: %s", error)
                time.sleep(_RETRY_SECONDS)
                continue
            self._resume(connection)
            return True
        with self._changed:
            self._failed = f"the coordinator has been gone for {self.welcome.reconnect_seconds:.0f} s"
            self._changed.notify_all()
        return False

    def _resume(self, connection: Connection) -> None:
        with self._changed:
            self._connection = connection
            again: list[FromWorker] = [self._ready] if self._ready else []
            if self._gathering:  # what was kept counts as lost: from now on this worker streams
                self._gathering = False
                self._answers += self._kept.items()
                self._kept.clear()
                self._pledges.clear()
                self._unacknowledged = {
                    n: m for n, m in self._unacknowledged.items() if isinstance(m, Answers)
                }
            again += self._unacknowledged.values()
            if self._pull is not None:
                again.append(self._pull)
            waiting: list[FromWorker] = [m for m in self._outbox if not isinstance(m, Pull | Ready)]
            self._outbox = collections.deque([*again, *waiting])
            self._granted.clear()  # they went back to the queue when the connection broke
            self._changed.notify_all()

    def _check(self) -> None:
        if self._failed is not None:
            raise LostCoordinatorError(self._failed)
