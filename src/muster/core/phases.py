"""What a command does besides asking a model, and how far that is: reading rows, converting, downloading, scoring.

Whoever does the work says so (`phase`), and counts; who shows it is up to whoever has called (`shown_by`). Where nobody
shows anything, counting costs an addition. A phase belongs to the thread that began it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Phase:
    """One piece of work. Counted in one thread and read in others."""

    what: str
    """`reading rows of digits_read`."""
    unit: str = ""
    """What is counted: `rows`, `bytes`, `answers`."""
    total: int | None = None
    """How many there will be, where that is known."""
    done: int = 0
    began: float = field(default_factory=time.monotonic)
    """Monotonic seconds."""

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.began


ShowPhase: TypeAlias = Callable[[Phase], AbstractContextManager[None]]

_show: ContextVar[ShowPhase | None] = ContextVar("_show", default=None)
_innermost: ContextVar[Phase | None] = ContextVar("_innermost", default=None)


@contextmanager
def shown_by(show: ShowPhase) -> Iterator[None]:
    """Have the phases within this context shown: `show` gives a context for each."""
    token = _show.set(show)
    try:
        yield
    finally:
        _show.reset(token)


@contextmanager
def phase(what: str, unit: str = "", total: int | None = None) -> Iterator[Phase]:
    """Work that may take a while. Add to the phase's `done`, or `advance` from further below."""
    begun = Phase(what, unit, total)
    token = _innermost.set(begun)
    show = _show.get()
    try:
        if show is None:
            yield begun
        else:
            with show(begun):
                yield begun
    finally:
        _innermost.reset(token)


def advance(count: int = 1) -> None:
    """So much more of the innermost phase is done."""
    if (current := _innermost.get()) is not None:
        current.done += count


def counted(items: Iterable[T]) -> Iterator[T]:
    """The items, each counted as done of the innermost phase when the next one is asked for."""
    current = _innermost.get()
    return iter(items) if current is None else _counted(items, current)


def _counted(items: Iterable[T], current: Phase) -> Iterator[T]:
    for item in items:
        yield item
        current.done += 1
