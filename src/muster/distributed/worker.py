"""The worker: loads one replica and answers what it claims, until the run is over.

`python -m muster.distributed.worker` is how engines start one: it reads a `Start` as one line of JSON from its
standard input, and ends when that input does, so that no worker outlives the process that started it.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import msgspec

from muster.core import Failure, MusterError, ReplicaError
from muster.distributed import rendezvous
from muster.distributed.environment import host_name, read_ranks
from muster.distributed.link import LostCoordinatorError, SocketLink
from muster.distributed.messages import Broken, Hello, Ready
from muster.distributed.stream import ClaimedRequests
from muster.distributed.wire import Connection, HandshakeError
from muster.models.protocol import Model, ModelSettings

log = logging.getLogger(__name__)

EXIT_BROKEN = 70
"""Exit status of a worker whose replica failed; the reason went to the coordinator."""
EXIT_STUCK = 71
"""Exit status of a worker that was told to give up what it was stuck on."""
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Start:
    """What a worker needs to find its coordinator."""

    name: str
    rank: int
    addresses: list[tuple[str, int]]
    """Tried in this order."""
    secret: str
    """Hexadecimal."""
    publish: list[tuple[str, int]] = field(default_factory=list)
    """Addresses of the coordinator for this worker to tell the other ranks (rank 0 under a launcher)."""
    rendezvous_timeout: float = 600.0
    ship_logs: bool = False
    """Whether log lines go through the coordinator; a local child's standard error goes to its log file anyway."""


def connect_to_any(addresses: Sequence[tuple[str, int]], secret: bytes) -> Connection:
    """A connection to the first address that the run's coordinator answers at.

    Raises:
        OSError | HandshakeError: the last address's error, when none does.
    """
    error: Exception = OSError("no address to connect to")
    for address in addresses:
        try:
            return Connection.connect(address, secret, _CONNECT_SECONDS)
        except (OSError, HandshakeError) as failed:
            error = failed
    raise error


def run_worker(start: Start) -> int:
    """Join the run, work, and return the exit status."""
    secret = bytes.fromhex(start.secret)
    hello = Hello(start.name, start.rank, host_name(), os.getpid())
    try:
        link = SocketLink(lambda: connect_to_any(start.addresses, secret), hello, on_quit=_give_up)
    except (OSError, MusterError) as error:
        sys.stderr.write(f"{start.name}: cannot reach the coordinator: {error}\n")
        return 1
    handler = _LinkLog(link) if start.ship_logs else logging.NullHandler()
    logging.getLogger().addHandler(handler)
    _drain_on_signal(link)
    try:
        return _serve(link, start.name)
    except LostCoordinatorError as error:
        sys.stderr.write(f"{start.name}: {error}\n")
        return 1
    finally:
        logging.getLogger().removeHandler(handler)


def _serve(link: SocketLink, name: str) -> int:
    stream = ClaimedRequests(link)
    started = time.monotonic()
    loading = True
    try:
        model = load_model(link.welcome.backend, link.welcome.settings)
        ready = Ready(*capacity(model), load_seconds=time.monotonic() - started)
        link.ready(ready, lambda: stream.busy_seconds)
        loading = False
        log.info("%s is ready after %.1f s", name, ready.load_seconds)
        stream.answers_from(model.generate)
    except LostCoordinatorError:
        raise
    except Exception as error:  # noqa: BLE001  whatever a backend raises breaks the replica, and is told
        log.error("%s broke:\n%s", name, traceback.format_exc())
        link.broken(Broken(Failure.from_exception(error), loading))
        return EXIT_BROKEN
    link.leave()
    return 0


def load_model(backend: str, settings: bytes | msgspec.Raw | ModelSettings) -> Model:
    """Load a replica.

    Raises:
        ConfigurationError: no such backend, or it is not a `Model`. What the backend raises passes through.
    """
    from muster.models.registry import load_backend

    if not isinstance(settings, ModelSettings):
        settings = ModelSettings(**msgspec.msgpack.decode(settings, type=dict))
    model = load_backend(backend)(settings)
    if not isinstance(model, Model):
        raise ReplicaError(f"backend {backend!r} has no generate(requests) method")
    return model


def capacity(model: Model) -> tuple[int, bool]:
    """The model's slots, and whether they are one static batch."""
    return int(getattr(model, "slots", 1)), bool(getattr(model, "batched", False))


class _LinkLog(logging.Handler):
    """Sends log lines to the coordinator, which alone writes the run folder."""

    def __init__(self, link: SocketLink) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record, unless it is about sending."""
        if not record.name.startswith("muster.distributed.link"):
            self._link.log(self.format(record) + "\n")


def _drain_on_signal(link: SocketLink) -> None:
    def drain(number: int, _frame: object) -> None:
        log.warning("received %s: finishing what is started", signal.Signals(number).name)
        threading.Thread(target=link.drain, daemon=True).start()  # a handler must not wait for a lock

    signal.signal(signal.SIGTERM, drain)


def _give_up(reason: str) -> NoReturn:
    """End at once from the link's thread, whatever the main thread is stuck in; its stack goes to the log."""
    sys.stderr.write(f"giving up: {reason}\n")
    faulthandler.dump_traceback(file=sys.stderr)
    sys.stderr.flush()
    os._exit(EXIT_STUCK)


def _end_with_parent(wait_for_end: Callable[[], object]) -> None:
    def watch() -> None:
        wait_for_end()
        os._exit(1)

    threading.Thread(target=watch, name="muster-parent-watch", daemon=True).start()


def main() -> None:
    """The child process of an engine."""
    faulthandler.enable()  # SIGABRT writes every thread's stack to the worker's log
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the coordinator's to handle
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    start = msgspec.json.decode(sys.stdin.buffer.readline(), type=Start)
    _end_with_parent(sys.stdin.buffer.read)
    if start.publish and (ranks := read_ranks()) is not None:
        rendezvous.publish(ranks, rendezvous.Meeting(start.publish, start.secret), start.rendezvous_timeout)
    status = run_worker(start)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a library's threads must not hold up a finished run


if __name__ == "__main__":
    main()
