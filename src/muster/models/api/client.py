"""Asks for one request until there is an answer, an error of the sample, or no time left."""

from __future__ import annotations

import asyncio
import collections
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from muster.core import (
    Completion,
    Failure,
    MusterError,
    Request,
    RequestError,
    RunError,
    SampleError,
    TransientError,
    Usage,
)
from muster.core.text import valid_text
from muster.models.api.endpoints import Endpoint, EndpointPool, Lease
from muster.models.api.failures import DeniedError, OverloadedError, UnavailableError, UnreachableError

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
MOST_GIVEN_UP = 8
"""Requests given up one after the other, without a single answer in between, that end the run."""

Body = TypeVar("Body")


class Reply(NamedTuple):
    """What a model said."""

    text: str
    finish_reason: str | None = None
    usage: Usage = Usage()


class Prepared(NamedTuple, Generic[Body]):
    """A request as its API wants it, and what had to be changed for that."""

    body: Body
    note: str | None = None


class Api(Protocol[Body]):
    """One way to talk to servers."""

    def prepare(self, request: Request) -> Prepared[Body]:
        """The request in the API's form. Runs in a thread. Raises `SampleError` for what the API can't be asked."""
        ...

    async def ask(self, endpoint: int, body: Body) -> Reply:
        """Ask one endpoint once.

        Raises:
            SampleError | OverloadedError | UnavailableError | UnreachableError | DeniedError: as in `failures`.
        """
        ...

    def session(self) -> AbstractAsyncContextManager[object]:
        """What it needs while it asks (connections)."""
        ...

    def scrub(self, text: str) -> str:
        """`text` without the keys."""
        ...


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


class Client(Generic[Body]):
    """Answers requests; many at a time, all in one event loop."""

    def __init__(
        self,
        api: Api[Body],
        pool: EndpointPool,
        patience: Patience,
        media_threads: Executor,
        on_change: Callable[[], None],
    ) -> None:
        """`on_change` is called when the pool may have more places than before."""
        self._api, self._pool, self._patience = api, pool, patience
        self._media_threads, self._on_change = media_threads, on_change
        self._waiting: collections.deque[_Waiter] = collections.deque()
        self._timer: asyncio.TimerHandle | None = None
        self._given_up = 0

    async def complete(self, request: Request) -> Completion:
        """The completion of a request.

        Raises:
            ConfigurationError: the key, the model or the address is wrong.
            RunError: no endpoint can be reached or works any more, or the account is exhausted.
        """
        began = time.monotonic()
        try:
            prepared = await self._prepare(request)
            reply = await self._ask(prepared.body, began)
        except RequestError as error:
            failure = Failure(error.kind, type(error).__name__, valid_text(str(error)))
            return Completion(request.key, failure=failure, seconds=time.monotonic() - began)
        text = _before_stop(valid_text(reply.text), request.generation.stop)
        return Completion(
            request.key,
            text,
            usage=reply.usage,
            seconds=time.monotonic() - began,
            finish_reason=reply.finish_reason if len(text) == len(reply.text) else "stop",
            note=prepared.note,
        )

    def places(self) -> int:
        """How many requests it can work on at the same time, at the moment."""
        return self._pool.places(time.monotonic())

    async def _prepare(self, request: Request) -> Prepared[Body]:
        if not request.media:
            return self._api.prepare(request)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._media_threads, self._api.prepare, request)

    async def _ask(self, body: Body, began: float) -> Reply:
        deadline = began + self._patience.request_seconds
        failures, refusals = 0, 0
        last: TransientError | None = None
        avoid: Endpoint | None = None
        while True:
            self._check_pauses(deadline, last, failures + refusals)
            lease = await self._lease(deadline, avoid)
            if lease is None:
                raise self._out_of_time(last, failures + refusals)
            try:
                reply = await self._attempt(lease, body, deadline)
            except (UnreachableError, UnavailableError, OverloadedError) as error:
                last, avoid = error, lease.endpoint
            else:
                self._given_up = 0
                return reply
            if isinstance(last, UnavailableError):
                failures += 1
                if failures > self._patience.retries:
                    raise self._give_up(last, failures)
            else:
                refusals += 1
            if isinstance(last, OverloadedError) and last.retry_after is not None:
                continue  # the endpoint is left alone for that long; another may be free
            pause = pause_seconds(failures + refusals, random.random())
            if time.monotonic() + pause >= deadline:
                raise self._out_of_time(last, failures + refusals)
            await asyncio.sleep(pause)

    async def _attempt(self, lease: Lease, body: Body, deadline: float) -> Reply:
        """One attempt; its end is entered into the pool."""
        pool, endpoint = self._pool, lease.endpoint
        began = time.monotonic()
        seconds = min(self._patience.attempt_seconds, deadline - began)
        try:
            async with asyncio.timeout(seconds):
                reply = await self._ask_once(endpoint, body)
        except OverloadedError as error:
            pool.overloaded(lease, time.monotonic(), error.retry_after)
            raise
        except UnreachableError:
            pool.failed(lease, time.monotonic(), reachable=False)
            raise
        except UnavailableError as error:
            pool.failed(lease, time.monotonic(), reachable=True, retry_after=error.retry_after)
            raise
        except TimeoutError:
            pool.failed(lease, time.monotonic(), reachable=True)
            raise UnavailableError(f"{endpoint.name} gave no answer within {seconds:.0f} s") from None
        except SampleError:
            pool.answered(lease, time.monotonic() - began)
            self._given_up = 0
            raise
        except DeniedError as error:
            pool.withdrawn(lease)
            self._given_up += 1
            if endpoint.answered and error.status != 401 and self._given_up < MOST_GIVEN_UP:
                raise SampleError(
                    str(error)
                ) from None  # it knows us and the model: this prompt is not allowed
            raise
        except BaseException:
            pool.withdrawn(lease)
            raise
        else:
            pool.answered(lease, time.monotonic() - began)
            return reply
        finally:
            self._dispatch()

    async def _ask_once(self, endpoint: Endpoint, body: Body) -> Reply:
        try:
            return await self._api.ask(endpoint.index, body)
        except (RequestError, MusterError) as error:
            error.args = (self._api.scrub(str(error)),)  # servers quote what they were sent
            raise

    # -- waiting for an endpoint

    async def _lease(self, deadline: float, avoid: Endpoint | None) -> Lease | None:
        """A place at an endpoint, first come first served; None when there was none until the deadline."""
        if not self._waiting and (lease := self._pool.lease(time.monotonic(), avoid)):
            return lease
        waiter = _Waiter(asyncio.get_running_loop().create_future(), avoid)
        self._waiting.append(waiter)
        self._dispatch()
        try:
            async with asyncio.timeout_at(deadline):  # the loop's clock is the monotonic one
                return await waiter.lease
        except TimeoutError:
            if waiter.lease.done() and not waiter.lease.cancelled():
                self._pool.withdrawn(waiter.lease.result())
            return None  # `_dispatch` passes over it

    def _dispatch(self) -> None:
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
            self._timer = asyncio.get_running_loop().call_at(at + 0.001, self._dispatch)

    # -- giving up

    def _check_pauses(self, deadline: float, last: TransientError | None, attempts: int) -> None:
        """Don't wait for endpoints that asked to be left alone for longer than there is time."""
        now = time.monotonic()
        at = self._pool.changes_at(now)
        if last is None or at is None or at <= deadline or self._pool.places(now):
            return
        if at - now > self._patience.request_seconds:
            raise RunError(
                f"{last}. It wants to be left alone for {at - now:.0f} s, and one request may take "
                f"{self._patience.request_seconds:.0f} s (nine tenths of --request-timeout). What was answered is "
                "kept; run the same command again then"
            )
        raise self._give_up(last, attempts)

    def _out_of_time(self, last: TransientError | None, attempts: int) -> TransientError | RunError:
        seconds = self._patience.request_seconds
        if self._pool.unreachable:
            names = ", ".join(endpoint.name for endpoint in self._pool.endpoints)
            return RunError(
                f"nothing answers at {names} since {seconds:.0f} s: {last}. What was answered is kept; "
                "run the same command again when the server is back"
            )
        if last is None:
            last = UnavailableError(f"no endpoint took the request within {seconds:.0f} s")
        return self._give_up(last, attempts)

    def _give_up(self, last: TransientError, attempts: int) -> TransientError | RunError:
        self._given_up += 1
        if self._given_up >= MOST_GIVEN_UP:
            return RunError(
                f"{self._given_up} requests one after the other were given up, and none was answered; the last: "
                f"{last}. What was answered is kept; run the same command again when the server works"
            )
        return type(last)(f"{last} (asked {attempts} times)")


class _Waiter(NamedTuple):
    lease: asyncio.Future[Lease]
    avoid: Endpoint | None


def _before_stop(text: str, stops: tuple[str, ...]) -> str:
    """The text up to the first stop string: servers take a few of them only, and some ignore them."""
    ends = [position for stop in stops if stop and (position := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text
