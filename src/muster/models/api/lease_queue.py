"""Where requests wait for a place at an endpoint, first come first served."""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Callable
from typing import NamedTuple

from muster.models.api.endpoints import Endpoint, EndpointPool, Lease


class _Waiter(NamedTuple):
    lease: asyncio.Future[Lease]
    avoid: Endpoint | None


class LeaseQueue:
    """Gives out the places of a pool inside one event loop."""

    def __init__(self, pool: EndpointPool, on_change: Callable[[], None]) -> None:
        """`on_change` is called when the pool may have more places than before."""
        self._pool, self._on_change = pool, on_change
        self._waiting: collections.deque[_Waiter] = collections.deque()
        self._timer: asyncio.TimerHandle | None = None

    async def lease(self, deadline: float, avoid: Endpoint | None) -> Lease | None:
        """A place at an endpoint, first come first served; None when there was none until the deadline."""
        if not self._waiting and (lease := self._pool.lease(time.monotonic(), avoid)):
            return lease
        waiter = _Waiter(asyncio.get_running_loop().create_future(), avoid)
        self._waiting.append(waiter)
        self.dispatch()
        try:
            async with asyncio.timeout_at(deadline):  # the loop's clock is the monotonic one
                return await waiter.lease
        except TimeoutError:
            if waiter.lease.done() and not waiter.lease.cancelled():
                self._pool.withdrawn(waiter.lease.result())
            return None  # `dispatch` passes over it

    def dispatch(self) -> None:
        """Give free places to those who wait, and see to it that this happens again when a place comes free."""
        now = time.monotonic()
        while self._waiting:
            waiter = self._waiting[0]
            if waiter.lease.done():
                self._waiting.popleft()
                continue
            lease = self._pool.lease(now, waiter.avoid)
            if lease is None:
                break
            self._waiting.popleft()
            waiter.lease.set_result(lease)
        self._wake_when_it_changes(now)
        self._on_change()

    def _wake_when_it_changes(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self._pool.changes_at(now)
        if at is not None:
            # A little later, so that the endpoint surely is ready then.
            self._timer = asyncio.get_running_loop().call_at(at + 0.001, self.dispatch)
