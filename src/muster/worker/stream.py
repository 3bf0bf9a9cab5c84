"""What a backend pulls from: claims of this worker, whatever link leads to the coordinator."""

from __future__ import annotations

import math
import operator
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Literal, NamedTuple, Protocol, Self

import msgspec

from muster.core import BrokenContractError, Completion, Failure, ReplicaError, Request, RequestKey, Usage
from muster.core.encoded import Encoded
from muster.core.text import valid_text
from muster.media.extents import with_extents
from muster.media.gate import confined


class Pulled(NamedTuple):
    """Requests by index, and whether there will be more."""

    requests: list[tuple[int, Request]]
    state: Literal["work", "empty", "finished"]


class Link(Protocol):
    """A worker's way to the coordinator."""

    def pull(self, limit: int, *, idle: bool, park: bool) -> Pulled:
        """Claim up to `limit` requests; see `messages.Pull`. Waits while the scheduler withholds work."""
        ...

    def deliver(self, index: int, answer: Encoded) -> None:
        """Hand over an answer; returns at once."""
        ...


class ClaimedRequests:
    """The `RequestStream` of one worker. Backends may pull in one thread while answers leave in another."""

    def __init__(
        self,
        link: Link,
        clock: Callable[[], float] = time.monotonic,
        within: tuple[str, ...] | None = None,
    ) -> None:
        """`within`: folders of a machine whose user didn't start the run, for media; None: as requests say."""
        self.finished = False
        """Nothing will ever come any more: all is answered, or the run stops."""
        self._link = link
        self._held: dict[RequestKey, int] = {}
        self._lock = threading.Lock()
        self._clock = clock
        self._within = within
        self._busy_seconds = 0.0
        self._busy_since: float | None = None
        self._pulls = 0

    def __iter__(self) -> Iterator[Request]:
        return self

    def __next__(self) -> Request:
        """The next request; ends when there is nothing to claim at the moment."""
        requests = self._pull(1, idle=True)
        if not requests:
            raise StopIteration
        return requests[0]

    def take(self, limit: int) -> list[Request]:
        """Up to `limit` requests as one batch, none at the end; see `RequestStream.take`."""
        return self._pull(limit, idle=not self._held)

    def answer(self, completion: object) -> None:
        """Pass on what the backend yielded.

        Raises:
            ReplicaError: the backend answered something it was not asked.
            BrokenContractError: it yielded something else than a completion.
        """
        if not isinstance(completion, Completion):
            raise BrokenContractError(_no_completion(completion))
        with self._lock:
            index = self._held.pop(completion.key, None)
            if not self._held and self._busy_since is not None:
                self._busy_seconds += self._clock() - self._busy_since
                self._busy_since = None
        if index is None:
            raise ReplicaError(
                f"the backend answered {completion.key}, which it had not pulled or had answered already"
            )
        self._link.deliver(index, _carriable(completion))

    def answers_from(self, generate: Callable[[Self], Iterator[Completion]]) -> None:
        """Run a model's `generate` until the stream is finished, and pass on all that it answers.

        Raises:
            ReplicaError: the backend breaks its contract. What the backend raises passes through.
            BrokenContractError: it breaks it in a way that another start wouldn't mend.
        """
        while not self.finished:
            pulls = self._pulls
            answers: object = generate(self)
            if not isinstance(answers, Iterable):
                raise BrokenContractError(_no_completion(answers, "returned"))
            for completion in answers:
                self.answer(completion)
            for key in list(self._held):
                failure = Failure("sample", "NoAnswer", "the backend returned without answering this request")
                self.answer(Completion(key, failure=failure))
            if not self.finished and self._pulls == pulls:
                raise ReplicaError("the backend's generate() returned without pulling a request")

    @property
    def busy_seconds(self) -> float:
        """How long this worker has held at least one request."""
        since = self._busy_since
        return self._busy_seconds + (self._clock() - since if since is not None else 0.0)

    def _pull(self, limit: int, *, idle: bool) -> list[Request]:
        self._pulls += 1
        while not self.finished:
            # A worker that holds nothing has nothing better to do than to wait for work that may come back.
            pulled = self._link.pull(limit, idle=idle, park=not self._held)
            self.finished = pulled.state == "finished"
            with self._lock:
                if pulled.requests and self._busy_since is None:
                    self._busy_since = self._clock()
                # After a broken connection the coordinator may give us what we are still working on.
                new = [request for _index, request in pulled.requests if request.key not in self._held]
                self._held.update({request.key: index for index, request in pulled.requests})
            if new or not pulled.requests:
                if self._within is not None:
                    new = [confined(request, self._within) for request in new]
                return [with_extents(request) for request in new]
        return []


def _carriable(completion: Completion) -> Encoded:
    """The completion as it travels: text without lone surrogates, counts as plain numbers.

    Raises:
        BrokenContractError: what the backend yielded is no completion.
    """
    try:
        if (encoded := _checked(completion)) is not None:
            return encoded
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError):
        pass
    try:
        encoded = _checked(_mended(completion))
    except (TypeError, ValueError, OverflowError, AttributeError, msgspec.MsgspecError) as error:
        raise BrokenContractError(f"the backend yielded something that is no completion: {error}") from error
    if encoded is None:
        raise BrokenContractError(f"the backend yielded something that is no completion: {completion!r}")
    return encoded


def _checked(completion: Completion) -> Encoded | None:
    """None where it isn't the same after the journey: bytes become text in JSON."""
    encoded = Encoded.of(completion)
    return encoded if Encoded.read(encoded.json).completion == completion else None


def _no_completion(what: object, how: str = "yielded") -> str:
    text = repr(what)
    shown = (
        "nothing" if what is None else f"a {type(what).__name__}, {text[:60]}{'…' if len(text) > 60 else ''},"
    )
    return (
        f"the backend's generate() {how} {shown} where a Completion is expected: for each request, `yield "
        "Completion(request.key, text=…)` (docs/own-backend.md)"
    )


def _mended(completion: Completion) -> Completion:
    usage, failure = completion.usage, completion.failure
    return Completion(
        completion.key,
        None if completion.text is None else valid_text(completion.text),
        failure and replace(failure, message=valid_text(failure.message)),
        Usage(_whole(usage.prompt_tokens), _whole(usage.completion_tokens)),
        _seconds(completion.seconds),
        completion.finish_reason,
        None if completion.note is None else valid_text(completion.note),
        None if completion.reasoning is None else valid_text(completion.reasoning),
    )


def _seconds(seconds: float | None) -> float | None:
    return None if seconds is None or not math.isfinite(seconds) else float(seconds)


def _whole(count: int | None) -> int | None:
    return None if count is None else operator.index(count)
