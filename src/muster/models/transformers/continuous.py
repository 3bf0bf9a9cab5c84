"""Continuous batching: whoever has an answer makes room for the next request, at any token."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

from muster.core import Completion, Failure, Request
from muster.models.transformers.batch_size import BatchSize, claim_size, failure_of
from muster.models.transformers.memory import DeviceMemory
from muster.models.transformers.prefetch import OneAhead
from muster.models.transformers.preparation import Batch, Prepared
from muster.models.transformers.running import NotContinuousError, RunningRows

log = logging.getLogger(__name__)


RECENT = 32
"""Answers."""


class Fallback(Protocol):
    """Static batches."""

    def answer_batch(self, batch: Batch) -> Iterator[Completion]:
        """A batch that is prepared."""
        ...

    def answer(self, requests: Sequence[Request]) -> Iterator[Completion]:
        """As one batch where possible."""
        ...

    def answer_in_halves(self, requests: Sequence[Request], failure: Failure) -> Iterator[Completion]:
        """What failed together."""
        ...


class ContinuousBatching:
    """Answers prepared batches, adding each to the running rows as soon as there is room for it.

    What fails is handed to `fallback`, which answers it by itself, in smaller and smaller batches.
    """

    def __init__(
        self, rows: RunningRows, batch_size: BatchSize, memory: DeviceMemory, fallback: Fallback
    ) -> None:
        self._rows, self._batch_size, self._memory, self._fallback = rows, batch_size, memory, fallback
        self._waiting: deque[Batch] = deque()
        self._crowded = False
        """The rows filled the memory: nothing joins before all have ended."""
        self._answered = 0
        """Since the batch size was last changed."""
        self._tokens: float | None = None
        """Per answer, the recent ones counting most."""

    @property
    def claim(self) -> int:
        """How many requests to claim now. May be asked in another thread."""
        return claim_size(self._batch_size.limit, self._tokens)

    def answers(self, ahead: OneAhead[list[Request], Prepared]) -> Iterator[Completion]:
        """Answers to all that comes, each as soon as it has ended. What `ahead` raises is raised when all have."""
        error: Exception | None = None
        while self._waiting or len(self._rows) or not ahead.over:
            if not self._waiting and not ahead.over:
                try:
                    prepared = ahead.take(wait=not len(self._rows))
                except Exception as raised:  # noqa: BLE001 - raised again when the rows have ended
                    error, prepared = raised, None
                if prepared is not None:
                    yield from prepared.failures
                    self._waiting.extend(prepared.batches)
            if self._waiting and self._has_room_for(self._waiting[0]):
                yield from self._join(self._waiting.popleft())
            if len(self._rows):
                yield from self._step()
        if error is not None:
            raise error

    def _has_room_for(self, batch: Batch) -> bool:
        running = len(self._rows)
        if running == 0:
            return True
        fits = running + len(batch) <= self._batch_size.limit
        return fits and not self._crowded and self._rows.accepts(batch)

    def _join(self, batch: Batch) -> Iterator[Completion]:
        if batch.rows[0].request.continuations:
            yield from self._fallback.answer_batch(batch)
            return
        before = self._rows.requests
        running = len(before)
        if running == 0:
            self._crowded = False
            self._memory.begin()
        requests = [row.request for row in batch.rows]
        # An exception holds on to memory; it must be gone when something else is tried.
        try:
            ended, failure = self._rows.join(batch), None
        except NotContinuousError as error:
            ended, failure = None, None
            log.warning("batching: a batch is static (%s)", error)
        except Exception as error:  # noqa: BLE001 - becomes a record, or ends the replica
            ended, failure = [], failure_of(error, self._batch_size, running + len(batch))
        if ended is None:
            yield from self._fallback.answer(requests)
        elif failure is None:
            yield from self._counted(ended)
        elif not self._rows.whole:
            self._rows.clear()
            yield from self._fallback.answer_in_halves([*before, *requests], failure)
        elif failure.kind == "transient" and running:
            self._crowded = True
            self._memory.release()
            self._waiting.appendleft(batch)
        else:
            yield from self._fallback.answer_in_halves(requests, failure)

    def _step(self) -> Iterator[Completion]:
        try:
            ended, failure = self._rows.step(), None
        except Exception as error:  # noqa: BLE001 - becomes a record, or ends the replica
            ended, failure = [], failure_of(error, self._batch_size, len(self._rows))
        if failure is None:
            yield from self._counted(ended)
        else:
            requests = self._rows.requests
            self._rows.clear()
            yield from self._fallback.answer_in_halves(requests, failure)

    def _counted(self, ended: list[Completion]) -> list[Completion]:
        """What the next claims go by; the batch size may grow once a full one was answered."""
        for completion in ended:
            tokens = completion.usage.completion_tokens or 0
            self._tokens = tokens if self._tokens is None else self._tokens + (tokens - self._tokens) / RECENT
        self._answered += len(ended)
        if self._batch_size.growing and self._answered >= self._batch_size.limit:
            self._batch_size.worked(self._answered, room_for_twice=self._memory.room_for_twice())
            self._answered = 0
        return ended
