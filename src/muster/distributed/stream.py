"""What a backend pulls from: claims of this worker, whatever link leads to the coordinator."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, Protocol, Self

from muster.core import Completion, Failure, ReplicaError, Request, RequestKey


class Pulled(NamedTuple):
    """Requests by index, and whether there will be more."""

    requests: list[tuple[int, Request]]
    state: Literal["work", "empty", "finished"]


class Link(Protocol):
    """A worker's way to the coordinator."""

    def pull(self, limit: int, *, idle: bool, park: bool) -> Pulled:
        """Claim up to `limit` requests; see `messages.Pull`. Waits while the scheduler withholds work."""
        ...

    def deliver(self, index: int, completion: Completion) -> None:
        """Hand over an answer; returns at once."""
        ...


class ClaimedRequests:
    """The `RequestStream` of one worker. Backends may pull in one thread while answers leave in another."""

    def __init__(self, link: Link, clock: Callable[[], float] = time.monotonic) -> None:
        self.finished = False
        """Nothing will ever come any more: all is answered, or the run stops."""
        self._link = link
        self._held: dict[RequestKey, int] = {}
        self._lock = threading.Lock()
        self._clock = clock
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

    def answer(self, completion: Completion) -> None:
        """Pass on what the backend yielded.

        Raises:
            ReplicaError: the backend answered something it was not asked.
        """
        with self._lock:
            index = self._held.pop(completion.key, None)
            if not self._held and self._busy_since is not None:
                self._busy_seconds += self._clock() - self._busy_since
                self._busy_since = None
        if index is None:
            raise ReplicaError(
                f"the backend answered {completion.key}, which it had not pulled or had answered already"
            )
        self._link.deliver(index, _readable(completion))

    def answers_from(self, generate: Callable[[Self], Iterator[Completion]]) -> None:
        """Run a model's `generate` until the stream is finished, and pass on all that it answers.

        Raises:
            ReplicaError: the backend breaks its contract. What the backend raises passes through.
        """
        while not self.finished:
            pulls = self._pulls
            for completion in generate(self):
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
        if self.finished:
            return []
        # A worker that holds nothing has nothing better to do than to wait for work that may come back.
        pulled = self._link.pull(limit, idle=idle, park=not self._held)
        self.finished = pulled.state == "finished"
        with self._lock:
            if pulled.requests and self._busy_since is None:
                self._busy_since = self._clock()
            self._held.update({request.key: index for index, request in pulled.requests})
        return [request for _index, request in pulled.requests]


def _readable(completion: Completion) -> Completion:
    """Lone surrogates, which no encoding can carry, become replacement characters."""
    text = completion.text
    if text is None or text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text):
        return completion
    mended = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return Completion(
        completion.key,
        mended,
        usage=completion.usage,
        seconds=completion.seconds,
        finish_reason=completion.finish_reason,
    )
