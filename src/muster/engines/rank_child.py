"""A launcher's rank whose worker is a process of its own, started again when it dies.

For replicas of several processes, of which one may be lost alone. Were the rank itself the worker, it would have to end
with it, and the launcher would answer by ending all the others.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import FrameType

import msgspec

from muster.distributed.worker import EXIT_ALONE, EXIT_BROKEN, Start
from muster.engines.children import describe_exit
from muster.engines.replica import MOST_FRUITLESS_STARTS

log = logging.getLogger(__name__)

FRUITFUL_SECONDS = 600.0
"""A worker that lasted so long was worth its start; what it answered is known to the coordinator alone."""


def supervise(start: Start) -> int:
    """Run a worker, and another one whenever it breaks or is killed; returns the last one's exit status.

    One that ended in good order, was told to stop, can't load its model or has lost the coordinator is not replaced,
    and neither is the last of several that soon died.
    """
    fruitless, starts, told_to_stop = 0, 0, False
    process: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _frame: FrameType | None) -> None:
        nonlocal told_to_stop
        told_to_stop = True
        if process is not None and process.poll() is None:
            process.send_signal(number)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, pass_on)
    while True:
        began, starts = time.monotonic(), starts + 1
        process = _launch(start)
        if told_to_stop:  # between the death of one and the start of the next
            process.terminate()
        status = process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(
                process.pid, signal.SIGKILL
            )  # what the model has started, and left behind with its memory
        if status == EXIT_ALONE and starts > 1:
            return 0  # while it started again the others have finished; had rank 0 failed, its own status says so
        broke = status < 0 or status == EXIT_BROKEN
        fruitless = 0 if time.monotonic() - began > FRUITFUL_SECONDS else fruitless + 1
        if not broke or told_to_stop or fruitless >= MOST_FRUITLESS_STARTS:
            return 128 - status if status < 0 else status
        sys.stderr.write(f"{start.name} {describe_exit(status)}; starting it again\n")


def _launch(start: Start) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "muster.distributed.worker"],
        stdin=subprocess.PIPE,
        stdout=2,
        start_new_session=True,
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # its exit status tells
        process.stdin.write(msgspec.json.encode(replace(start, supervised=True)) + b"\n")
        process.stdin.flush()  # stays open: its end tells the worker to end
    return process
