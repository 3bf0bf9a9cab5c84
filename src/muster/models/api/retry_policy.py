"""When a request is given up, and when the run is."""

from __future__ import annotations

import time
from dataclasses import dataclass

from muster.core import RunError, TransientError
from muster.models.api.endpoints import EndpointPool
from muster.models.api.failures import UnavailableError

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
MOST_GIVEN_UP = 8
"""Requests given up one after the other, without a single answer in between, that end the run."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try (seconds), and how often after failures of the server."""

    request_seconds: float
    attempt_seconds: float
    retries: int


def pause_seconds(failures: int, random_share: float) -> float:
    """The back-off after so many failures: exponential, between half and the whole of it (`random_share` in 0–1)."""
    longest = min(FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 30), LONGEST_PAUSE_SECONDS)
    return longest * (0.5 + 0.5 * random_share)


class GivingUp:
    """Tells a request that has failed from servers that are no use to any."""

    def __init__(self, pool: EndpointPool, request_seconds: float) -> None:
        self._pool, self._request_seconds = pool, request_seconds
        self._given_up = 0

    def answered(self) -> None:
        """A request was answered."""
        self._given_up = 0

    def may_be_one_more(self) -> bool:
        """Whether one more request may be given up; counts it."""
        self._given_up += 1
        return self._given_up < MOST_GIVEN_UP

    def check_pauses(self, deadline: float, last: TransientError | None, attempts: int) -> None:
        """Don't wait for endpoints that will take nothing for longer than there is time."""
        now = time.monotonic()
        rest = self._pool.paused_until - now
        if last is not None and rest > self._request_seconds:
            raise RunError(
                f"{last}. It wants to be left alone for {rest:.0f} s, and one request may take "
                f"{self._request_seconds:.0f} s (nine tenths of --request-timeout). What was answered is "
                "kept; run the same command again then"
            )
        at = self._pool.changes_at(now)
        if at is not None and at > deadline and not self._pool.places(now):
            raise self.out_of_time(last, attempts)

    def out_of_time(self, last: TransientError | None, attempts: int) -> TransientError | RunError:
        """The error of a request whose time is over."""
        seconds = self._request_seconds
        if self._pool.unreachable:
            names = ", ".join(endpoint.name for endpoint in self._pool.endpoints)
            return RunError(
                f"nothing answers at {names} since {seconds:.0f} s: {last}. What was answered is kept; "
                "run the same command again when the server is back"
            )
        if last is None:
            last = UnavailableError(f"no endpoint took the request within {seconds:.0f} s")
        return self.give_up(last, attempts)

    def give_up(self, last: TransientError, attempts: int) -> TransientError | RunError:
        """The error of a request that has been tried often enough."""
        if not self.may_be_one_more():
            return RunError(
                f"{MOST_GIVEN_UP} requests one after the other were given up, and none was answered; the last: "
                f"{last}. What was answered is kept; run the same command again when the server works"
            )
        return type(last)(f"{last} (asked {attempts} times)")
