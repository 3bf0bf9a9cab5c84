"""Asks for one request until there is an answer, an error of the sample, or no time left."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Generic, TypeVar

from muster.core import Completion, Failure, MusterError, Request, RequestError, SampleError, TransientError
from muster.core.text import valid_text
from muster.models.api.endpoints import Endpoint, EndpointPool, Lease
from muster.models.api.failures import (
    DeniedError,
    OverloadedError,
    RefusedParameterError,
    UnavailableError,
    UnreachableError,
    UnsupportedError,
    WithheldError,
)
from muster.models.api.lease_queue import LeaseQueue
from muster.models.api.parameters import no_effect
from muster.models.api.protocol import Api, Prepared, Reply
from muster.models.api.repeated import Repeated
from muster.models.api.retry_policy import GivingUp, Patience, pause_seconds

log = logging.getLogger(__name__)

Body = TypeVar("Body")


class Client(Generic[Body]):
    """Answers requests; many at a time, all in one event loop."""

    def __init__(
        self,
        api: Api[Body],
        pool: EndpointPool,
        patience: Patience,
        media_threads: Executor,
        on_change: Callable[[], None],
        repeated: Repeated,
    ) -> None:
        """`on_change` is called when the pool may have more places than before."""
        self._api, self._pool, self._patience = api, pool, patience
        self._media_threads, self._repeated = media_threads, repeated
        self._leases = LeaseQueue(pool, on_change)
        self._giving_up = GivingUp(pool, patience.request_seconds)

    async def complete(self, request: Request) -> Completion:
        """The completion of a request.

        Raises:
            ConfigurationError: the key, the model or the address is wrong.
            RunError: no endpoint can be reached or works any more, or the account is exhausted.
        """
        began = time.monotonic()
        try:
            prepared = await self._prepare(request)
            reply = await self._ask(prepared.body, began, stops=bool(request.generation.stop))
        except RequestError as error:
            failure = Failure(error.kind, type(error).__name__, valid_text(str(error)))
        except MusterError:
            raise
        except Exception as error:
            log.exception("%s could not be asked", request.key)
            failure = Failure.from_exception(error)
        else:
            return _completion(request, reply, prepared.note, time.monotonic() - began)
        return Completion(request.key, failure=failure, seconds=time.monotonic() - began)

    def places(self) -> int:
        """How many requests it can work on at the same time, at the moment."""
        return self._pool.places(time.monotonic())

    async def _prepare(self, request: Request) -> Prepared[Body]:
        if not request.media:
            return self._api.prepare(request)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._media_threads, self._api.prepare, request)

    async def _ask(self, body: Body, began: float, *, stops: bool) -> Reply:
        deadline = began + self._patience.request_seconds
        failures, refusals = 0, 0
        last: TransientError | None = None
        avoid: Endpoint | None = None
        while True:
            self._giving_up.check_pauses(deadline, last, failures + refusals)
            lease = await self._leases.lease(deadline, avoid)
            if lease is None:
                raise self._giving_up.out_of_time(last, failures + refusals)
            try:
                reply = await self._attempt(lease, body, deadline, stops=stops)
            except (UnreachableError, UnavailableError, OverloadedError) as error:
                last, avoid = error, lease.endpoint
                self._repeated.failure(str(error))
            else:
                self._giving_up.answered()
                self._repeated.answer()
                return reply
            if isinstance(last, UnavailableError):
                failures += 1
                if failures > self._patience.retries:
                    raise self._giving_up.give_up(last, failures)
            else:
                refusals += 1
            if isinstance(last, OverloadedError) and last.retry_after is not None:
                continue  # the endpoint is left alone for that long; another may be free
            pause = pause_seconds(failures + refusals, random.random())
            if time.monotonic() + pause >= deadline:
                raise self._giving_up.out_of_time(last, failures + refusals)
            await asyncio.sleep(pause)

    async def _attempt(self, lease: Lease, body: Body, deadline: float, *, stops: bool) -> Reply:
        """One attempt; its end is entered into the pool."""
        pool, endpoint = self._pool, lease.endpoint
        began = time.monotonic()
        seconds = min(self._patience.attempt_seconds, deadline - began)
        try:
            async with asyncio.timeout(seconds):
                reply = await self._ask_once(endpoint, body, stops=stops)
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
        except SampleError as error:
            pool.answered(lease, time.monotonic() - began)
            self._giving_up.answered()
            if not isinstance(error, WithheldError):
                self._repeated.refusal(str(error))
            raise
        except DeniedError as error:
            pool.withdrawn(lease)
            if self._giving_up.may_be_one_more() and endpoint.answered and error.status != 401:
                # It knows us and the model: this prompt is not allowed.
                raise SampleError(str(error)) from None
            raise
        except BaseException:
            pool.withdrawn(lease)
            raise
        else:
            pool.answered(lease, time.monotonic() - began)
            return reply
        finally:
            self._leases.dispatch()

    async def _ask_once(self, endpoint: Endpoint, body: Body, *, stops: bool) -> Reply:
        """One exchange; more where the server refuses a parameter that may be left out."""
        parameters = self._api.parameters
        dropped: list[str] = []
        while True:
            try:
                reply = await self._exchange(endpoint, body)
            except (RequestError, MusterError) as error:
                refused = _refused(error, stops=stops and not parameters.takes_stops)
                fewer = self._api.leave_out(body, refused) if refused else None
                if refused is None or fewer is None:
                    raise
                if isinstance(error, UnavailableError):  # whether it was that will show
                    reply = await self._after_failure(endpoint, fewer)
                    parameters.refuse(refused, str(error))
                    return reply
                parameters.refuse(refused, str(error))
                dropped.append(refused)
                body = fewer
            else:
                parameters.takes_stops = parameters.takes_stops or (stops and "stop" not in dropped)
                return reply._replace(note=no_effect(dropped))

    async def _after_failure(self, endpoint: Endpoint, body: Body) -> Reply:
        """One exchange, after a pause: servers close the connection over which they answered 500, a little later."""
        await asyncio.sleep(pause_seconds(1, random.random()))
        try:
            return await self._exchange(endpoint, body)
        except UnavailableError as error:
            if error.status is not None:
                raise
        await asyncio.sleep(pause_seconds(2, random.random()))
        return await self._exchange(endpoint, body)

    async def _exchange(self, endpoint: Endpoint, body: Body) -> Reply:
        try:
            return await self._api.ask(endpoint.index, body)
        except (RequestError, MusterError) as error:
            error.args = (self._api.scrub(str(error)),)  # servers quote what they were sent
            raise


def _refused(error: Exception, *, stops: bool) -> str | None:
    """The parameter to leave out. `stops`: stop strings are sent, which some servers answer with status 500."""
    if isinstance(error, RefusedParameterError | UnsupportedError):
        return error.parameter
    return "stop" if stops and isinstance(error, UnavailableError) and error.status == 500 else None


def _completion(request: Request, reply: Reply, note: str | None, seconds: float) -> Completion:
    said = valid_text(reply.text)
    text = _before_stop(said, request.generation.stop)
    thought = valid_text(reply.reasoning)
    notes = [each for each in (note, reply.note) if each]
    if thought.strip() and not text.strip():
        notes.append(
            f"the answer is empty: all that came ({len(thought)} characters) is in the API's field for reasoning"
        )
    elif reply.unseen and not text.strip():
        notes.append(
            f"the answer is empty: {reply.unseen} tokens went into a thought that the API keeps to itself"
        )
    return Completion(
        request.key,
        text,
        usage=reply.usage,
        seconds=seconds,
        finish_reason=reply.finish_reason if text == said else "stop",
        note="; ".join(notes) or None,
        reasoning=thought or None,
    )


def _before_stop(text: str, stops: tuple[str, ...]) -> str:
    """The text up to the first stop string: servers take a few of them only, and some ignore them."""
    ends = [position for stop in stops if stop and (position := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text
