"""What a worker has claimed, and when it asks for more. Values in, messages out: the link sends them."""

from __future__ import annotations

import collections

from muster.core import Request
from muster.wire.messages import Grant, Pull

_MOST_AHEAD = 512


class Claims:
    """The claims of one worker. At most one pull is under way; not safe for several threads by itself."""

    def __init__(self, now: float) -> None:
        """`now` and all other times are of one monotonic clock, in seconds."""
        self.asked: Pull | None = None
        """The pull that has no answer yet."""
        self.finished = False
        """The coordinator's last word was that there will be no more work."""
        self._granted: collections.deque[tuple[int, Request]] = collections.deque()
        self._number = 0
        self._window = 0
        self._waited_at = now

    @property
    def granted(self) -> int:
        """Requests that were granted and not started."""
        return len(self._granted)

    def ask(self, limit: int, *, idle: bool, park: bool) -> Pull:
        """A pull for a worker that needs requests now; single ones are claimed as many as hide the way."""
        return self._pull(limit if limit > 1 else max(1, self._window), idle=idle, park=park)

    def ask_ahead(self, limit: int) -> Pull | None:
        """A pull for later, where requests are taken one by one and half of what hides the way is used up."""
        if limit == 1 and self.asked is None and 2 * len(self._granted) < self._window:
            return self._pull(self._window, idle=False, park=False)
        return None

    def take(self, limit: int) -> list[tuple[int, Request]]:
        """Up to `limit` of the granted requests, to be started."""
        return [self._granted.popleft() for _ in range(min(limit, len(self._granted)))]

    def grant(self, grant: Grant) -> None:
        """What the coordinator has granted."""
        self._granted.extend(grant.requests)
        if self.asked is not None and grant.number == self.asked.number:
            self.asked, self.finished = None, grant.state == "finished"

    def widen(self, waited: float, now: float) -> None:
        """The window doubles while waiting for claims takes more than a tenth of the time between two waits."""
        since, self._waited_at = now - self._waited_at, now
        if waited > 0.1 * since:
            self._window = min(_MOST_AHEAD, max(1, 2 * self._window))

    def forfeit(self) -> list[int]:
        """Give up what was granted and never started; returns its indices."""
        released = [index for index, _request in self._granted]
        self._granted.clear()
        return released

    def _pull(self, limit: int, *, idle: bool, park: bool) -> Pull:
        self._number += 1
        self.asked = Pull(self._number, limit, idle, park)
        return self.asked
