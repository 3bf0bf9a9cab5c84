"""How long an answer may be, and how long a metric may work on it: no single one may stop a run from being scored."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType

MOST_CHARACTERS = 1_000_000
MOST_SECONDS = 30.0
"""Of processor time, which doesn't depend on what else the machine does."""
_LOOKS = 10
"""How often the timer looks within the time that an answer may take."""


class ScoringLimitError(Exception):
    """An answer is too long to be scored, or its metric takes too long."""


class _Watch:
    """A timer over many answers, since setting one for each is dear; a context for each of them."""

    def __init__(self, seconds: float) -> None:
        self.thread = threading.get_ident()
        self._seconds = seconds
        self._looks: int | None = None
        """At the answer that is being scored; None between two."""

    def __enter__(self) -> None:
        self._looks = 0

    def __exit__(self, *_: object) -> None:
        self._looks = None

    def look(self) -> None:
        """The timer has run out. Raises again and again, because a metric may catch what it raises."""
        if self._looks is not None:
            self._looks += 1
            if self._looks > _LOOKS:
                raise ScoringLimitError(
                    f"it took more than {self._seconds:g} s of processor time on this answer"
                )


class _Running:
    watch: _Watch | None = None
    """A process has one such timer."""
    handled = False
    """Whether its signal has our handler."""


def _look(_number: int, _frame: FrameType | None) -> None:
    if _Running.watch is not None:
        _Running.watch.look()


@contextmanager
def handled() -> Iterator[None]:
    """Have the timer's signal handled by us meanwhile: for answers that are scored now and then, each with a timer.

    Setting a handler takes ten times as long as setting a timer. As `watching`, for the main thread alone.
    """
    if _Running.handled or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _look)
    signal.siginterrupt(signal.SIGVTALRM, False)
    _Running.handled = True
    try:
        yield
    finally:
        _Running.handled = False
        signal.signal(signal.SIGVTALRM, before)


@contextmanager
def watching(seconds: float = MOST_SECONDS) -> Iterator[AbstractContextManager[None]]:
    """Have `within_limits` use one timer for all answers that are scored in this context; gives one for an answer.

    Each may take `seconds`, or a tenth more. Does nothing in other threads than the main one, nor inside another
    such context.
    """
    if _Running.watch is not None or threading.current_thread() is not threading.main_thread():
        yield nullcontext()
        return
    with handled():
        watch = _Running.watch = _Watch(seconds)
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, seconds / _LOOKS, seconds / _LOOKS)
            yield watch
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            _Running.watch = None


def within_limits(text: str, seconds: float = MOST_SECONDS) -> AbstractContextManager[None]:
    """A context in which to score `text`, where it may take `seconds`, or those of the `watching` around it.

    Raises `ScoringLimitError` where the text is too long, and in the context where it takes too long. Python code and
    its regular expressions are interrupted; what runs in a library is when it returns. Outside the main thread only
    the length is limited, because only the main thread gets signals.
    """
    if len(text) > MOST_CHARACTERS:
        raise ScoringLimitError(
            f"the answer has {len(text):,} characters; answers of up to {MOST_CHARACTERS:,} are scored"
        )
    watch = _Running.watch
    return watch if watch is not None and watch.thread == threading.get_ident() else _alone(seconds)


@contextmanager
def _alone(seconds: float) -> Iterator[None]:
    with watching(seconds) as answer, answer:
        yield
