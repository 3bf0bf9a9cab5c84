"""A line of requests that wait, in a fixed order, to which requests may return."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

WAITING, HELD, DONE, ALONE, BLOCKED = range(5)
"""What a request's byte in the shared table of states says. `ALONE` waits too, but in no line. `BLOCKED` can't be
claimed until another one is done, or until it is known what is asked in its place."""


class Lane:
    """Rising places, served from the front. A request may stand in several lines at once.

    The lines share one table of states and skip whatever is not waiting, so taking a request from one line
    (or completing it while it waits) needs no search in the others. Each place is passed once, plus once
    per return: constant time amortised, and O(log n) for what comes back.
    """

    __slots__ = ("_cursor", "_places", "_returned", "_states")

    def __init__(self, places: Sequence[int], states: bytearray) -> None:
        self._places = places
        self._states = states
        self._cursor = 0
        self._returned: list[int] = []

    def front(self) -> int:
        """The first place that waits, or -1."""
        places, states, returned = self._places, self._states, self._returned
        while returned and states[returned[0]] != WAITING:
            heapq.heappop(returned)
        cursor, length = self._cursor, len(places)
        while cursor < length and states[places[cursor]] != WAITING:
            cursor += 1
        self._cursor = cursor
        if returned and (cursor == length or returned[0] < places[cursor]):
            return returned[0]
        return places[cursor] if cursor < length else -1

    def put_back(self, place: int) -> None:
        """Let a place that was taken wait again, at its old position in the order."""
        heapq.heappush(self._returned, place)

    def drain(self) -> list[int]:
        """Empty the line: all places that wait, in order."""
        rest = {place for place in self._returned if self._states[place] == WAITING}
        rest.update(p for p in self._places[self._cursor :] if self._states[p] == WAITING)
        self._returned.clear()
        self._cursor = len(self._places)
        return sorted(rest)

    def extend(self, places: Iterable[int]) -> None:
        """Let many places join."""
        self._returned.extend(places)
        heapq.heapify(self._returned)
