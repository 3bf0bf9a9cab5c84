"""The end of a command: it comes, whatever a backend has left running."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType

from muster.cli.leftovers import end_leftovers
from muster.core.interruption import SIGNALS
from muster.core.saying import tell

PATIENCE_SECONDS = 8.0
"""What threads and exit functions are given that others have left."""


def end(status: int) -> None:
    """Exit. Where torch was loaded, without taking the interpreter apart, which takes it another second or two."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _at_once)
    threading.Thread(target=_insist, args=(status,), name="muster-end", daemon=True).start()
    if toolkits := sys.modules.get("muster.toolkits.session"):
        toolkits.end_all()
    end_leftovers()
    if "torch" not in sys.modules:
        sys.exit(status)
    atexit._run_exitfuncs()
    _leave(status)


def _at_once(number: int, _frame: FrameType | None) -> None:
    _leave(128 + number)


def _insist(status: int) -> None:
    """End the process when its own end takes too long: the interpreter waits for every thread that isn't a daemon."""
    threading.Event().wait(PATIENCE_SECONDS)
    left = [
        thread.name
        for thread in threading.enumerate()
        if not thread.daemon and thread is not threading.main_thread()
    ]
    what = (
        f"threads that never ended ({', '.join(left)})" if left else "something that never ends at its exit"
    )
    tell(f"muster: the backend, or a library, has left {what}; ending all the same")
    _leave(status)


def _leave(status: int) -> None:
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)
