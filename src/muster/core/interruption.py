"""A signal that asks this process to stop: raised at once, and kept, so that nobody's `except:` can lose it.

Metrics, task files, backends and libraries are other people's code. What guards against their errors never takes an
interruption for one, because it is no `Exception`; where they catch it themselves, or it reaches the main thread where
Python drops exceptions (a destructor, a callback), the next `check` raises it again.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from muster.core.errors import InterruptedRunError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN_SECONDS = 30.0
"""After so long in vain an interruption is raised again: what cleans up after it may itself stand still."""


class _Asked:
    """What was asked of this process; only the main thread gets signals."""

    depth = 0
    number: int | None = None


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def check() -> None:
    """Raise `InterruptedRunError` where a signal has come that nothing has ended yet. Does nothing in other threads."""
    if _Asked.number is not None and _in_main_thread():
        raise interrupted_by(_Asked.number)


def settle() -> None:
    """The interruption was told: `check` raises it no more."""
    _Asked.number = None


def interrupted_by(number: int) -> InterruptedRunError:
    """The interruption that a signal means."""
    return InterruptedRunError(f"interrupted by {signal.Signals(number).name}", number)


@contextmanager
def handling(handle: Callable[[int], None]) -> Iterator[None]:
    """`handle` gets the signals that ask a process to stop, in the main thread; elsewhere it gets none.

    A SIGHUP that is ignored (`nohup`) stays so. What handled them before does so again afterwards. Raises as `check`.
    """
    if not _in_main_thread():
        yield
        return

    def handler(number: int, _frame: FrameType | None) -> None:
        handle(number)

    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else set()
    previous = {number: signal.signal(number, handler) for number in SIGNALS if number not in ignored}
    try:
        check()
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before if before is not None else signal.SIG_DFL)


@contextmanager
def interruptible() -> Iterator[None]:
    """Signals raise `InterruptedRunError` in the main thread; one that was swallowed is raised at the end.

    Engines, which have started work to finish, handle signals themselves meanwhile. May be nested.
    """
    if not _in_main_thread():
        yield
        return
    over = threading.Event()
    _Asked.depth += 1

    def interrupt(number: int) -> None:
        if _Asked.number is None:
            threading.Thread(target=_again, args=(number, over), name="muster-interrupt", daemon=True).start()
        _Asked.number = number
        raise interrupted_by(number)

    try:
        with handling(interrupt):
            yield
            check()
    finally:
        over.set()
        _Asked.depth -= 1
        if not _Asked.depth:
            settle()


def _again(number: int, over: threading.Event) -> None:
    while not over.wait(AGAIN_SECONDS):
        with contextlib.suppress(ProcessLookupError):
            signal.pthread_kill(threading.main_thread().ident or 0, number)
