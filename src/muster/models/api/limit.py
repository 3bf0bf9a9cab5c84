"""How many requests an endpoint is given at the same time: as many as pay, fewer when it is overloaded.

Pure: durations are passed in.
"""

from __future__ import annotations

import math

START = 8
MOST = 512
"""The most that is tried where the user sets no limit."""
SMALLEST_ROUND = 16
"""Answers that a mean latency is taken of, at least."""
SHARE_LOST = 0.5
"""Growth pays while latency grows by less than this share of it: twice the requests, latency below 1.5 times."""
BACK = 0.85
"""Of the limit that growth started from, when it didn't pay: that was too much already, as like as not."""
PROBE = 1.5
"""Growth from which on it can be told from noise whether it paid."""
SLOW = 2.0
"""Latency against that of before, at an unchanged limit, from which on the endpoint counts as overburdened."""


class AdaptiveLimit:
    """Additive increase, multiplicative decrease.

    The limit moves in rounds: as many answers as it has places, all of requests that were begun under it, give the
    round's mean latency. By Little's law the throughput is limit/latency, so growth that costs as much latency
    as it adds places only makes a queue on the server, and is taken back, and a little more. The limit doubles
    until that happens for the first time or the server says that it is too much; then it grows by its square root
    per round. It is halved when the server refuses (429, 5xx) or doesn't answer in time, once per round, and
    reduced to three quarters when the latency at the same limit doubles.

    With `adaptive=False` it stays at `most`, where the user set it, and only gives way to refusals.
    """

    def __init__(self, start: int = START, most: int = MOST, *, adaptive: bool = True) -> None:
        self.most = most
        self._limit = float(min(start, most) if adaptive else most)
        self._adaptive = adaptive
        self._doubling = adaptive
        self._round = 0
        self._decreased = 0
        """The round that the last decrease began."""
        self._anchor: tuple[float, float] | None = None
        """A limit that paid, and its latency."""
        self._answers, self._seconds, self._fullest = 0, 0.0, 0

    @property
    def limit(self) -> int:
        """Requests at the same time, at least 1."""
        return int(self._limit)

    def begin(self, in_flight: int) -> int:
        """A request is sent, the `in_flight`th; returns the round, to be given back with its end."""
        self._fullest = max(self._fullest, in_flight)
        return self._round

    def answered(self, begun: int, seconds: float) -> None:
        """A request of round `begun` was answered after `seconds`."""
        if begun != self._round:
            return  # its latency is that of another limit
        self._answers += 1
        self._seconds += seconds
        if self._answers >= max(self.limit, SMALLEST_ROUND):
            self._end_round(self._seconds / self._answers)

    def overloaded(self, begun: int) -> None:
        """A request of round `begun` was refused, or not answered in time, because there were too many."""
        if begun < self._decreased:
            return  # sent before the last decrease, which answers it
        self._doubling = False
        self._decrease_to(self._limit / 2)

    def _end_round(self, latency: float) -> None:
        if self._fullest < self.limit:  # the limit was not what held it back, so nothing was learned about it
            self._begin_round()
            return
        if not self._adaptive:
            self._grow()
            return
        if self._anchor is None:
            self._anchor = (self._limit, latency)
            self._grow()
            return
        limit, reference = self._anchor
        growth = self._limit / limit
        if growth >= PROBE:
            if latency <= reference * (1 + SHARE_LOST * (growth - 1)):
                self._anchor = (self._limit, latency)
                self._grow()
            else:
                self._doubling = False
                self._decrease_to(BACK * limit)
        elif latency > SLOW * reference:
            self._decrease_to(0.75 * self._limit)
        else:
            self._grow()

    def _grow(self) -> None:
        step = self._limit if self._doubling else max(1.0, math.sqrt(self._limit))
        self._limit = min(self._limit + step, float(self.most))
        self._begin_round()

    def _decrease_to(self, limit: float) -> None:
        self._limit = max(1.0, limit)
        self._anchor = None
        self._begin_round()
        self._decreased = self._round

    def _begin_round(self) -> None:
        self._round += 1
        self._answers, self._seconds, self._fullest = 0, 0.0, 0
