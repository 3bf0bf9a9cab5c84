"""How many requests go into a batch: a number that shrinks when memory runs out and may grow while there is room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from muster.core import Failure, ReplicaError, TransientError
from muster.core.choices import RequestedBatch
from muster.models.transformers.device_errors import classify

CPU_BATCH = 16
"""The demo model on one core: 100 answers/s at 1, 385 at 8, 610 at 32. A real model's activations on a CPU cost
gigabytes, and running out of memory there can't be caught."""
STEPS_BETWEEN_JOINS = 8
ONE_WORD = 4
"""Tokens. The demo's digits are two."""
CUDA_START = 4
CUDA_CEILING = 128


@dataclass(slots=True)
class BatchSize:
    """The limit for the next batch. Plain arithmetic: it is told what happened, and measures nothing."""

    limit: int
    ceiling: int
    """The limit never exceeds this."""

    @classmethod
    def choose(cls, requested: RequestedBatch, *, on_gpu: bool) -> Self:
        """What `--batch-size` asks for. `auto` grows from small on a GPU and is fixed on a CPU."""
        if requested != "auto":
            return cls(requested, requested)
        return cls(CUDA_START, CUDA_CEILING) if on_gpu else cls(CPU_BATCH, CPU_BATCH)

    @property
    def growing(self) -> bool:
        """Whether the limit may still rise."""
        return self.limit < self.ceiling

    def worked(self, size: int, *, room_for_twice: bool) -> None:
        """A batch of `size` was answered; double the limit if it was a full one and memory allows."""
        if room_for_twice and size >= self.limit:
            self.limit = min(2 * self.limit, self.ceiling)

    def ran_out_of_memory(self, size: int) -> None:
        """A batch of `size` was too large. The limit is halved and doesn't grow again."""
        self.limit = self.ceiling = max(1, min(self.limit, size // 2))


def claim_size(limit: int, tokens_per_answer: float | None) -> int:
    """How many requests to claim at a time where they join others, `limit` in all, as soon as so many have ended.

    The fewer, the fewer places stand idle; but reading prompts holds up all that are being answered, and costs less
    for many at a time. So it is a quarter, or so many that about `STEPS_BETWEEN_JOINS` tokens are made between two
    joins, but half at most: what was claimed joins together, and must not wait for a few long answers. Where
    answers are a word there is nothing to gain: all at once.
    """
    if tokens_per_answer is None:
        return max(1, limit // 4)
    if tokens_per_answer <= ONE_WORD:
        return limit
    wanted = int(STEPS_BETWEEN_JOINS * limit / tokens_per_answer)
    return max(1, limit // 4, min(wanted, limit // 2))


def failure_of(error: Exception, batch_size: BatchSize, size: int) -> Failure:
    """Why `size` rows failed together, as a record that holds on to none of the device's memory.

    The batch size is told where memory ran out. Raises `ReplicaError` when the device is broken.
    """
    if isinstance(error, ReplicaError):
        raise error
    kind = classify(error)
    if kind == "broken device":
        raise ReplicaError(f"the device failed: {error}") from error
    if kind == "other":
        return Failure.from_exception(error)
    batch_size.ran_out_of_memory(size)
    failure = TransientError(f"out of memory with a batch of {size}: {error}")
    return Failure.from_exception(failure.with_traceback(error.__traceback__))
