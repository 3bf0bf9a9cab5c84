"""A background thread that makes the next thing while the current one is in use, and never more than that."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Generic, Self, TypeVar

C = TypeVar("C")
T = TypeVar("T")

JOIN_SECONDS = 5.0
"""What `close` waits for the thread while that makes something."""
CLAIM_SECONDS = 0.1
"""The same while it claims: who is kept waiting for work may be kept for as long as others have some."""


@dataclass(frozen=True, slots=True)
class _Raised:
    """What `claim` or `make` raised, on its way to the consuming thread."""

    error: BaseException


class OneAhead(Generic[C, T]):
    """Iterates over `make(claim())` until `claim` returns None, calling both in a background thread.

    While the consumer holds item k, at most item k + 1 is being made or waiting: nothing is claimed for k + 2
    before the consumer has asked for k + 1. What they raise is raised in the consumer. After `close` (or
    leaving the `with` block) neither is called again.
    """

    def __init__(self, claim: Callable[[], C | None], make: Callable[[C], T], name: str = "prefetch") -> None:
        self.over = False
        """Everything was taken."""
        self._claim, self._make = claim, make
        self._claiming = False
        self._room = threading.Semaphore(1)
        self._closed = threading.Event()
        self._items: SimpleQueue[T | _Raised | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[T]:
        """The items, each once."""
        while not self.over:
            if (item := self.take(wait=True)) is not None:
                yield item

    def take(self, *, wait: bool) -> T | None:
        """The next item; None when there won't be one (see `over`), or without waiting when it isn't ready yet."""
        if self.over:
            return None
        try:
            item = self._items.get(block=wait)
        except Empty:
            return None
        if item is None:
            self.over = True
        elif isinstance(item, _Raised):
            self.over = True
            raise item.error
        else:
            self._room.release()
        return item

    def close(self) -> None:
        """Make the thread end, and wait for it; one that is kept waiting for work ends when that is over."""
        self._closed.set()
        self._room.release()
        self._thread.join(CLAIM_SECONDS)
        if not self._claiming:
            self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        while True:
            self._room.acquire()
            try:
                item = self._next()
            except BaseException as error:  # noqa: BLE001 - raised again in the consuming thread
                self._items.put(_Raised(error))
                return
            self._items.put(item)
            if item is None:
                return

    def _next(self) -> T | None:
        if self._closed.is_set():
            return None
        self._claiming = True
        try:
            claimed = self._claim()
        finally:
            self._claiming = False
        return None if claimed is None or self._closed.is_set() else self._make(claimed)
