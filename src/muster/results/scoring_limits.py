"""How long an answer may be, and how long a metric may work on it: no single one may stop a run from being scored."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

MOST_CHARACTERS = 1_000_000
MOST_SECONDS = 30.0
"""Of processor time, which doesn't depend on what else the machine does."""


class ScoringLimitError(Exception):
    """An answer is too long to be scored, or its metric takes too long."""


@contextmanager
def within_limits(text: str, seconds: float = MOST_SECONDS) -> Iterator[None]:
    """Score `text` in this context. Raises `ScoringLimitError` where it is too long, or takes too long.

    Python code and its regular expressions are interrupted; what runs in a library is when it returns. Outside the
    main thread only the length is limited, because only the main thread gets signals.
    """
    if len(text) > MOST_CHARACTERS:
        raise ScoringLimitError(
            f"the answer has {len(text):,} characters; answers of up to {MOST_CHARACTERS:,} are scored"
        )
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise ScoringLimitError(f"it took more than {seconds:g} s of processor time on this answer")

    before = signal.signal(signal.SIGVTALRM, stop)
    try:
        signal.setitimer(
            signal.ITIMER_VIRTUAL, seconds, 1.0
        )  # again each second: a metric may catch what it raises
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
