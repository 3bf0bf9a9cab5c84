"""Leaves an endpoint alone that doesn't work, and tries now and then whether it does again.

Pure: the time is passed in.
"""

from __future__ import annotations

from typing import Literal

State = Literal["closed", "open", "half-open"]

FAILURES = 5
"""In a row, after which an endpoint is left alone."""
COOLDOWN_SECONDS = 1.0
LONGEST_COOLDOWN_SECONDS = 30.0


class Breaker:
    """Closed: requests go through. Open: none do. Half-open, after the cool-down: one does, and decides.

    The cool-down doubles with each probe that fails.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._cooldown = COOLDOWN_SECONDS
        self._open_until: float | None = None
        self._probing = False

    def state(self, now: float) -> State:
        """What may go through at `now` (seconds)."""
        if self._open_until is None:
            return "closed"
        return "open" if now < self._open_until else "half-open"

    def admits(self, now: float) -> bool:
        """Whether a request may be sent."""
        state = self.state(now)
        return state == "closed" or (state == "half-open" and not self._probing)

    def begin(self, now: float) -> bool:
        """A request is sent; returns whether it is the probe, to be given back with its end."""
        probe = self.state(now) == "half-open"
        self._probing = self._probing or probe
        return probe

    @property
    def opens_at(self) -> float | None:
        """When the next probe may be sent; None while closed, or while one is under way."""
        return None if self._probing else self._open_until

    def worked(self) -> None:
        """The endpoint answered, to whatever request."""
        self._failures, self._open_until, self._probing = 0, None, False
        self._cooldown = COOLDOWN_SECONDS

    def failed(self, now: float, *, probe: bool) -> None:
        """A request got no usable answer. While open only the probe counts: the others were sent before."""
        if probe:
            self._probing = False
            self._cooldown = min(2 * self._cooldown, LONGEST_COOLDOWN_SECONDS)
            self._open_until = now + self._cooldown
        elif self._open_until is None:
            self._failures += 1
            if self._failures >= FAILURES:
                self._open_until = now + self._cooldown

    def withdrawn(self, *, probe: bool) -> None:
        """A request was given up for reasons of its own: it says nothing about the endpoint."""
        if probe:
            self._probing = False
