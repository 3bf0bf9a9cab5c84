"""How fast answers come: over the last minute, in constant memory. Pure."""

from __future__ import annotations

WINDOW_S = 60


class Rate:
    """Counts per second of the last minute. Times are of one clock, in seconds."""

    __slots__ = ("_costs", "_counts", "_seconds")

    def __init__(self) -> None:
        self._seconds = [-1] * WINDOW_S
        self._counts = [0] * WINDOW_S
        self._costs = [0.0] * WINDOW_S

    def add(self, now: float, cost: float = 0.0) -> None:
        """One more, now."""
        second = int(now)
        place = second % WINDOW_S
        if self._seconds[place] != second:
            self._seconds[place], self._counts[place], self._costs[place] = second, 0, 0.0
        self._counts[place] += 1
        self._costs[place] += cost

    def recent(self, now: float) -> tuple[int, float]:
        """How many came in the last minute, and what they cost together."""
        first = int(now) - WINDOW_S + 1
        places = [place for place, second in enumerate(self._seconds) if second >= first]
        return sum(self._counts[place] for place in places), sum(self._costs[place] for place in places)

    def per_second(self, now: float, since: float) -> float:
        """Over the last minute, or from `since` on where that is later."""
        seconds = min(float(WINDOW_S), now - since)
        return self.recent(now)[0] / seconds if seconds > 0 else 0.0
