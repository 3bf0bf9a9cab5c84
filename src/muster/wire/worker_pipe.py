"""What a worker tells the process that keeps it going: that it lives, where its coordinator is, that all is over.

One line each, of JSON, through a pipe that no other process has. Only the worker can meet the coordinator in the
launcher's rendezvous, which takes torch; it passes on what it was told there, so that a worker that takes its place
needs no rendezvous.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TypeAlias

import msgspec

ALIVE_SECONDS = 1.0
"""A living worker says so this often, also while its model works or loads."""


class Alive(msgspec.Struct, tag=True, frozen=True):
    """The worker lives, and can run Python."""


class CoordinatorFound(msgspec.Struct, tag=True, frozen=True):
    """Where the coordinator is, and the run's secret (hexadecimal)."""

    addresses: list[tuple[str, int]]
    secret: str


class RunOver(msgspec.Struct, tag=True, frozen=True):
    """The coordinator has said that the run is over; `missing` is `Stop.missing`."""

    missing: list[int]


Report: TypeAlias = Alive | CoordinatorFound | RunOver

_decoder: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)


def read_report(line: bytes) -> Report:
    """One line of the pipe. Raises `msgspec.DecodeError`."""
    return _decoder.decode(line)


class Reporter:
    """The worker's end of the pipe. Where nobody reads, nothing is lost but the report."""

    def __init__(self, pipe: int) -> None:
        """`pipe`: its file descriptor, which what the model starts won't have."""
        self._pipe = pipe
        os.set_inheritable(pipe, False)
        os.set_blocking(pipe, False)
        threading.Thread(target=self._beat, name="muster-pulse", daemon=True).start()

    def tell(self, report: Report) -> None:
        """Send one report."""
        with contextlib.suppress(OSError):
            os.write(self._pipe, msgspec.json.encode(report) + b"\n")

    def _beat(self) -> None:
        while True:
            self.tell(Alive())
            time.sleep(ALIVE_SECONDS)
