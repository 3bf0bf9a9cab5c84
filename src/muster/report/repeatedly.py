"""Something that is told again and again while something else goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeatedly(tell: Callable[[], None], pause: Callable[[], float], name: str) -> Iterator[None]:
    """Call `tell` from a thread called `name`, each time after `pause()` seconds, until the context ends."""
    over = threading.Event()

    def report() -> None:
        while not over.wait(pause()):
            tell()

    reporter = threading.Thread(target=report, name=name, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        over.set()
        reporter.join()
