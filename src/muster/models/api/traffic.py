"""Between the stream of requests, which may block, and the event loop, which must not.

Three threads: the caller's takes answers out, one runs the event loop, one pulls requests. Pulling is claiming, so
the third pulls only when the loop has a place for one more.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Protocol

from muster.core import Completion, Request
from muster.models.protocol import RequestStream

JOIN_SECONDS = 5.0


class Worker(Protocol):
    """What answers requests inside the event loop."""

    async def complete(self, request: Request) -> Completion:
        """The completion of one request. What it raises ends everything."""
        ...

    def places(self) -> int:
        """How many requests it can work on at the same time, at the moment."""
        ...


Open = Callable[[Callable[[], None]], contextlib.AbstractAsyncContextManager[Worker]]
"""Makes the worker; it calls what it is given when it may have more places."""


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


class Traffic:
    """Answers a stream of requests with a worker, as many at a time as it has places."""

    def __init__(
        self,
        requests: RequestStream,
        open_worker: Open,
        run: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run,
    ) -> None:
        """`run` runs a coroutine to its end, in a new event loop or in one that the worker's parts belong to."""
        self._requests, self._open, self._run_in_loop = requests, open_worker, run
        self._answers: SimpleQueue[Completion | _End] = SimpleQueue()
        self._places = threading.Semaphore(0)
        self._closing = False
        self._owed = 0
        """Requests that were pulled and whose answers the caller has not passed on."""
        self._passed_on = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None

    def answers(self) -> Iterator[Completion]:
        """Completions as they come. Raises what the worker or the stream raised."""
        thread = threading.Thread(target=self._run, name="muster-api", daemon=True)
        thread.start()
        try:
            while not isinstance(answer := self._answers.get(), _End):
                yield answer
                with self._passed_on:
                    self._owed -= 1
                    self._passed_on.notify()
            if answer.error is not None:
                raise answer.error
        finally:
            self._close()
            thread.join(JOIN_SECONDS)

    def _close(self) -> None:
        self._closing = True
        self._places.release()
        if self._loop is not None and self._main is not None:
            with contextlib.suppress(RuntimeError):  # it is over already
                self._loop.call_soon_threadsafe(self._main.cancel)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._run_in_loop(self._serve())
        except BaseException as raised:  # noqa: BLE001  raised again in the caller's thread
            error = raised
        self._answers.put(_End(error))

    async def _serve(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        if self._closing:
            return
        floor = _Floor(self._places, self._answers.put)
        async with self._open(floor.admit) as worker:
            floor.worker = worker
            puller = threading.Thread(
                target=self._pull, args=(self._loop, floor), name="muster-pull", daemon=True
            )
            puller.start()
            try:
                floor.admit()
                await floor.over()
            finally:
                self._closing = True
                self._places.release()
                await floor.clear()

    def _next(self) -> Request | None:
        """The next request. Where there is none at the moment, an answer may make one: a dialogue's next turn."""
        while (request := next(self._requests, None)) is None:
            with self._passed_on:
                owed = self._owed
                if not owed:
                    return None
                while self._owed == owed and not self._closing:
                    self._passed_on.wait(timeout=1.0)
            if self._closing:
                return None
        return request

    def _pull(self, loop: asyncio.AbstractEventLoop, floor: _Floor) -> None:
        error: BaseException | None = None
        try:
            while True:
                self._places.acquire()
                if self._closing:
                    break
                request = self._next()
                if request is None:
                    break
                with self._passed_on:
                    self._owed += 1
                loop.call_soon_threadsafe(floor.enter, request)
        except BaseException as raised:  # noqa: BLE001  raised again in the caller's thread
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is over
            loop.call_soon_threadsafe(floor.ended, error)


class _Floor:
    """The requests that are worked on, inside the event loop."""

    worker: Worker

    def __init__(self, places: threading.Semaphore, put: Callable[[Completion], None]) -> None:
        self._places, self._put = places, put
        self._tasks: set[asyncio.Task[None]] = set()
        self._admitted = 0
        """Requests inside, and places that the puller was given for more."""
        self._ended = False
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def admit(self) -> None:
        """Let as many requests in as there is place for."""
        free = self.worker.places() - self._admitted
        if free > 0:
            self._admitted += free
            self._places.release(free)

    def enter(self, request: Request) -> None:
        """One came in."""
        task = asyncio.get_running_loop().create_task(self._work(self.worker.complete(request)))
        self._tasks.add(task)
        task.add_done_callback(self._left)

    async def _work(self, completion: Awaitable[Completion]) -> None:
        self._put(await completion)

    def _left(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._admitted -= 1
        if not task.cancelled() and (error := task.exception()) is not None:
            self._finish(error)
        elif self._ended and not self._tasks:
            self._finish(None)
        else:
            self.admit()

    def ended(self, error: BaseException | None) -> None:
        """Nobody will come in any more."""
        self._ended = True
        if error is not None or not self._tasks:
            self._finish(error)

    def _finish(self, error: BaseException | None) -> None:
        if self._over.done():
            return
        if error is None:
            self._over.set_result(None)
        else:
            self._over.set_exception(error)

    async def over(self) -> None:
        """Wait until all have left and nobody comes any more. Raises what went wrong."""
        await self._over

    async def clear(self) -> None:
        """End what is still being worked on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
