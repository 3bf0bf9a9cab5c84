"""Which endpoint gets the next request. Pure: the time is passed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from muster.models.api.breaker import Breaker
from muster.models.api.limit import AdaptiveLimit


@dataclass(slots=True)
class Endpoint:
    """One base URL: what is on its way to it, and what is known of it."""

    index: int
    name: str
    """The base URL, without credentials."""
    limit: AdaptiveLimit
    breaker: Breaker = field(default_factory=Breaker)
    in_flight: int = 0
    paused_until: float = 0.0
    """It asked to be left alone until then (`Retry-After`)."""
    reachable: bool = True
    """Whether the last connection to it came about."""
    answered: int = 0
    used: int = 0

    def admits(self, now: float) -> bool:
        """Whether it can be sent a request."""
        return now >= self.paused_until and self.breaker.admits(now) and self.in_flight < self.limit.limit

    def places(self, now: float) -> int:
        """How many requests it can have at the same time, at the moment."""
        if now < self.paused_until:
            return 0
        return {"closed": self.limit.limit, "half-open": 1, "open": 0}[self.breaker.state(now)]


class Lease(NamedTuple):
    """One attempt at one endpoint; to be given back with how it ended."""

    endpoint: Endpoint
    round: int
    probe: bool


class EndpointPool:
    """Several endpoints that serve the same model, and how much of what is asked each of them gets."""

    def __init__(self, names: Sequence[str], limit: Callable[[], AdaptiveLimit], most: int) -> None:
        """`limit` makes the limit of one endpoint; `most` bounds all of them together."""
        self.endpoints = tuple(Endpoint(index, name, limit()) for index, name in enumerate(names))
        self._most = most
        self._leases = 0

    def lease(self, now: float, avoid: Endpoint | None = None) -> Lease | None:
        """The least loaded endpoint that takes a request, and another than `avoid` where possible; None: wait."""
        free = [endpoint for endpoint in self.endpoints if endpoint.admits(now)]
        if not free:
            return None
        endpoint = min(
            free, key=lambda each: (each is avoid, each.in_flight / each.limit.limit, each.used, each.index)
        )
        self._leases += 1
        endpoint.used = self._leases
        endpoint.in_flight += 1
        return Lease(endpoint, endpoint.limit.begin(endpoint.in_flight), endpoint.breaker.begin(now))

    def answered(self, lease: Lease, seconds: float) -> None:
        """It answered the request, or said why this one can't be answered."""
        endpoint = self._back(lease)
        endpoint.answered += 1
        endpoint.reachable = True
        endpoint.breaker.worked()
        endpoint.limit.answered(lease.round, seconds)

    def overloaded(self, lease: Lease, now: float, retry_after: float | None) -> None:
        """It works, and has too much to do (429). `retry_after`: it wants to be left alone so long (seconds)."""
        endpoint = self._back(lease)
        endpoint.reachable = True
        endpoint.breaker.worked()
        endpoint.limit.overloaded(lease.round)
        if retry_after is not None:
            endpoint.paused_until = max(endpoint.paused_until, now + retry_after)

    def failed(self, lease: Lease, now: float, *, reachable: bool, retry_after: float | None = None) -> None:
        """It gave no usable answer: an error of its own, a connection that broke, silence."""
        endpoint = self._back(lease)
        endpoint.reachable = reachable
        endpoint.breaker.failed(now, probe=lease.probe)
        if reachable:
            endpoint.limit.overloaded(lease.round)
        if retry_after is not None:
            endpoint.paused_until = max(endpoint.paused_until, now + retry_after)

    def withdrawn(self, lease: Lease) -> None:
        """The request was given up while it was on its way."""
        self._back(lease).breaker.withdrawn(probe=lease.probe)

    def places(self, now: float) -> int:
        """How many requests may be worked on at the same time."""
        return min(self._most, sum(endpoint.places(now) for endpoint in self.endpoints))

    def changes_at(self, now: float) -> float | None:
        """When an endpoint that takes nothing at `now` will; None where only answers change that."""
        times = []
        for endpoint in self.endpoints:
            opens = endpoint.breaker.opens_at if endpoint.breaker.state(now) == "open" else None
            at = max(endpoint.paused_until, opens or 0.0)
            if at > now:
                times.append(at)
        return min(times, default=None)

    @property
    def paused_until(self) -> float:
        """Until when all endpoints want to be left alone."""
        return min(endpoint.paused_until for endpoint in self.endpoints)

    @property
    def unreachable(self) -> bool:
        """No endpoint can be reached."""
        return not any(endpoint.reachable for endpoint in self.endpoints)

    def _back(self, lease: Lease) -> Endpoint:
        lease.endpoint.in_flight -= 1
        return lease.endpoint
