"""What SIGTERM does to a worker."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from muster.core import Interruption
from muster.worker.link import SocketLink

log = logging.getLogger(__name__)


class StoppedWhileLoading(Interruption):
    """A signal ended the loading of a model; no `except Exception` of a library takes it for a failure."""


class Drain:
    """Has a worker finish its requests in flight, and give up loading a model."""

    def __init__(self, link: SocketLink) -> None:
        self.received: list[int] = []
        self._link = link
        self._loading = False

    def on(self, signals: Sequence[signal.Signals]) -> None:
        """Take over these signals."""
        for each in signals:
            signal.signal(each, self._handle)

    @contextmanager
    def loading(self) -> Iterator[None]:
        """While a model is loaded. A signal raises `StoppedWhileLoading`, also where a library has swallowed it."""
        self._loading = True
        try:
            yield
            if self.received:
                raise StoppedWhileLoading
        finally:
            self._loading = False

    def _handle(self, number: int, _frame: object) -> None:
        self.received.append(number)
        log.warning("received %s: finishing the requests in flight", signal.Signals(number).name)
        threading.Thread(target=self._link.drain, daemon=True).start()  # a handler must not wait for a lock
        if self._loading:
            raise StoppedWhileLoading
