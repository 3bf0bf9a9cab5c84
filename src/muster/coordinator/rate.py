"""How fast answers come: over the last minute, in constant memory. Pure."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

WINDOW_S = 60


class _Second(NamedTuple):
    second: int
    answers: int
    cost: float


class Rate:
    """Counts per second of the last minute. Times are of one clock, in seconds, and don't go back."""

    __slots__ = ("_cost", "_count", "_past", "_second")

    def __init__(self) -> None:
        self._past: deque[_Second] = deque(maxlen=WINDOW_S)
        self._second, self._count, self._cost = -1, 0, 0.0

    def add(self, now: float, cost: float = 0.0) -> None:
        """One more, now."""
        if now >= self._second + 1:
            self._past.append(_Second(self._second, self._count, self._cost))
            self._second, self._count, self._cost = int(now), 0, 0.0
        self._count += 1
        self._cost += cost

    def recent(self, now: float) -> tuple[int, float]:
        """How many came in the last minute, and what they cost together."""
        first = int(now) - WINDOW_S + 1
        seconds = [*self._past.copy(), _Second(self._second, self._count, self._cost)]
        recent = [each for each in seconds if each.second >= first]
        return sum(each.answers for each in recent), sum(each.cost for each in recent)

    def per_second(self, now: float, since: float) -> float:
        """Over the last minute, or from `since` on where that is later."""
        seconds = min(float(WINDOW_S), now - since)
        return self.recent(now)[0] / seconds if seconds > 0 else 0.0
