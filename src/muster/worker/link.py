"""A worker's link to a coordinator in another process: its threads, its connection, and how that is renewed."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec

from muster.core import RunError
from muster.core.encoded import Encoded
from muster.core.text import valid_text
from muster.wire import messages as wire_messages
from muster.wire.messages import (
    Acknowledged,
    Broken,
    Collect,
    FromWorker,
    Grant,
    Heartbeat,
    Hello,
    Leave,
    Log,
    Ready,
    Refused,
    Stop,
    Welcome,
)
from muster.wire.transport import Connection
from muster.worker.claiming import Claims
from muster.worker.outbox import Outbox
from muster.worker.stream import Pulled

log = logging.getLogger(__name__)

Connect = Callable[[], Connection]

_RETRY_SECONDS = 0.25
_LAST_WORD_SECONDS = 2.0


class LostCoordinatorError(RunError):
    """The coordinator is gone, or refuses this worker."""


class RunOverError(LostCoordinatorError):
    """There is nothing left to join."""


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
            RunOverError: who answers in its place says that the run is over.
        """
        self._connect, self._hello, self._on_stop = connect, hello, on_stop
        self._changed = threading.Condition()
        self._connection = connect()
        self._collects: deque[Collect] = deque()
        self._ready: Ready | None = None
        self._busy: Callable[[], float] = lambda: 0.0
        self._sending = self._closing = False
        self._stopped = self._hung_up = False
        self._failed: str | None = None
        self.drained = False
        self.welcome = self._introduce()
        # Whoever takes the coordinator's place at this address must not get answers to another's requests.
        self._hello = msgspec.structs.replace(hello, session=self.welcome.session)
        self._claims = Claims(time.monotonic())
        self._outbox = Outbox(gathering=self.welcome.collect == "gather")
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
        claims = self._claims
        with self._changed:
            if self._over:  # what was granted and not started goes back
                self._check()
                return Pulled([], "finished")
            if requests := claims.take(limit):
                if (ahead := claims.ask_ahead(limit)) is not None:
                    self._post(ahead)
                return Pulled(requests, "work")
            started = time.monotonic()
            self._post(claims.ask(limit, idle=idle, park=park))
            self._changed.wait_for(lambda: claims.granted or claims.asked is None or self._over)
            self._check()
            requests = [] if self._over else claims.take(limit)
            if not requests:
                return Pulled([], "finished" if self._over or claims.finished else "empty")
            if limit == 1:
                now = time.monotonic()
                claims.widen(now - started, now)
            return Pulled(requests, "work")

    def deliver(self, index: int, answer: Encoded) -> None:
        """Queue an answer for sending."""
        with self._changed:
            self._check()
            self._outbox.deliver(index, answer.json)
            self._changed.notify_all()

    @property
    def gathering(self) -> bool:
        """Whether answers are kept until they are collected."""
        return self._outbox.gathering

    def kept(self) -> list[tuple[int, bytes]]:
        """The answers that this worker keeps."""
        with self._changed:
            return self._outbox.kept

    def send_answers(self, answers: list[tuple[int, bytes]]) -> None:
        """Send answers that were kept, by this worker or by others that gathered them here."""
        with self._changed:
            self._outbox.send_answers(answers)
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

    def until_sent(self, seconds: float) -> None:
        """Wait until all that was given to be sent is on its way, or `seconds` at most."""
        with self._changed:
            self._changed.wait_for(
                lambda: (self._outbox.empty and not self._sending) or self._failed, timeout=seconds
            )

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
            released = self._claims.forfeit()
            self._outbox.send_kept()
        self._finish(Leave(released, self._busy()))

    # -- sending

    @property
    def _over(self) -> bool:
        return self.drained or self._failed is not None

    def _check(self) -> None:
        if self._failed is not None:
            raise LostCoordinatorError(self._failed)

    def _post(self, message: FromWorker) -> None:
        with self._changed:
            self._outbox.post(message)
            self._changed.notify_all()

    def _send(self) -> None:
        beat_due = time.monotonic()
        while True:
            with self._changed:
                pause = max(0.0, beat_due - time.monotonic())
                self._changed.wait_for(
                    lambda: not self._outbox.empty or self._closing or self._failed, timeout=pause
                )
                if self._failed or (self._closing and self._outbox.empty):
                    return
                batch = self._outbox.batch()
                self._sending = True
                connection = self._connection
            if time.monotonic() >= beat_due:
                batch.append(Heartbeat(self._busy()))
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
                connection.close()
            with self._changed:
                self._sending = False
                self._changed.notify_all()

    def _finish(self, last: FromWorker) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._outbox.settled or self._failed or self._hung_up,
                timeout=self.welcome.reconnect_seconds,
            )
            self._outbox.post(last)
            self._closing = True
            self._changed.notify_all()
        self._sender.join(timeout=10)
        self._reader.join(timeout=_LAST_WORD_SECONDS)  # the coordinator hangs up, after what it has to say
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
        if isinstance(message, Stop):
            raise RunOverError(message.reason)
        reason = message.reason if isinstance(message, Refused) else repr(message)
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
            if self._closing:
                return
            if self._stopped:  # the run ends, and nobody will ask for what is left
                with self._changed:
                    self._hung_up = True
                    self._changed.notify_all()
                return
            if not self._reconnect():
                self._on_stop(Stop("over", self._failed or "the link is closed"), True)
                return

    def _take_in(self, message: wire_messages.FromCoordinator) -> None:
        with self._changed:
            match message:
                case Grant():
                    self._claims.grant(message)
                case Acknowledged():
                    self._outbox.acknowledge(message.number)
                case Collect():
                    self._collects.append(message)
                case Stop(how="drain" | "over"):
                    self.drained = self._stopped = True
                    if message.how == "over":
                        self._outbox.forget_kept()
                case Refused():
                    self._failed = message.reason
                case _:
                    pass  # a welcome after a reconnection: nothing in it has changed
            self._changed.notify_all()
        if isinstance(message, Stop):
            self._on_stop(message, False)

    def _reconnect(self) -> bool:
        """Come back after a cut: introduce ourselves again, repeat what was not acknowledged."""
        limit = time.monotonic() + self.welcome.reconnect_seconds
        log.warning("the connection to the coordinator broke; reconnecting")
        self._connection.close()  # the sender may still be waiting in it
        while time.monotonic() < limit and not self._closing:
            if self._failed is not None:  # it was refused
                return False
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
            self._failed = self._failed or (
                f"the coordinator has been gone for {self.welcome.reconnect_seconds:.0f} s"
            )
            self._changed.notify_all()
        return False

    def _resume(self, connection: Connection) -> None:
        with self._changed:
            self._connection = connection
            self._outbox.repeat(self._ready, self._claims.asked)
            self._claims.forfeit()  # they went back to the queue when the connection broke
            self._changed.notify_all()
