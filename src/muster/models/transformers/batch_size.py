"""How many requests go into a batch: a number that shrinks when memory runs out and may grow while there is room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

CPU_BATCH = 16
"""The demo model on one core: 100 answers/s at 1, 385 at 8, 610 at 32. A real model's activations on a CPU cost
gigabytes, and running out of memory there can't be caught."""
CUDA_START = 4
CUDA_CEILING = 128


@dataclass(slots=True)
class BatchSize:
    """The limit for the next batch. Plain arithmetic: it is told what happened, and measures nothing."""

    limit: int
    ceiling: int
    """The limit never exceeds this."""

    @classmethod
    def choose(cls, requested: int | Literal["auto"], *, on_gpu: bool) -> Self:
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
