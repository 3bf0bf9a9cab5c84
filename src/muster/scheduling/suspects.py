"""Requests that were in flight when workers died: run alone after two deaths, given up after three."""

from __future__ import annotations

import heapq

from muster.scheduling.lane import ALONE

ALONE_AFTER = 2
"""Deaths with a request in flight after which it is run alone."""
POISONED_AFTER = 3
"""Deaths after which it is given up."""


class Suspects:
    """Counts deaths by place, and knows which requests wait to be run alone, and by whom."""

    def __init__(self, states: bytearray) -> None:
        """`states`: the ledger's, which it reads."""
        self._states = states
        self._deaths: dict[int, int] = {}
        self._waiting: list[int] = []
        self._reserved: set[str] = set()

    def count_death(self, place: int) -> bool:
        """One more worker has died with it in flight; whether it is given up now."""
        self._deaths[place] = self._deaths.get(place, 0) + 1
        return self._deaths[place] >= POISONED_AFTER

    def undo_death(self, place: int) -> bool:
        """One death less; whether it waits to be run alone and no longer has to be."""
        self._deaths[place] = max(0, self._deaths.get(place, 0) - 1)
        return self._states[place] == ALONE and not self.suspected(place)

    def suspected(self, place: int) -> bool:
        """Whether it must be run alone."""
        return self._deaths.get(place, 0) >= ALONE_AFTER

    def add(self, place: int) -> None:
        """It waits to be run alone."""
        heapq.heappush(self._waiting, place)

    def any_waiting(self) -> bool:
        """Whether a request waits to be run alone; late answers of lost workers may have settled some."""
        while self._waiting and self._states[self._waiting[0]] != ALONE:
            heapq.heappop(self._waiting)
        if not self._waiting:
            self._reserved.clear()
        return bool(self._waiting)

    def take(self, worker: str) -> int:
        """The first of them, for a worker that holds nothing. Only where `any_waiting`."""
        self._reserved.discard(worker)
        return heapq.heappop(self._waiting)

    def reserve(self, worker: str) -> bool:
        """Whether this worker is to run dry, so that it can take one: one worker for each of them."""
        if worker not in self._reserved and len(self._reserved) < len(self._waiting):
            self._reserved.add(worker)
        return worker in self._reserved

    def release(self, worker: str) -> None:
        """The worker is gone: another one may be reserved."""
        self._reserved.discard(worker)
