"""How busy a device was while something ran: the GPU by NVML, else the cores by the processes' CPU time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

INTERVAL = 0.1


@dataclass(slots=True)
class Spent:
    """What a piece of work took; complete when its block has ended."""

    seconds: float = 0.0
    cpu: float = 0.0
    """Seconds of this process on all cores."""
    gpu_busy: float | None = None
    """The part of the time in which a kernel ran, where there is a GPU."""

    @property
    def busy(self) -> str:
        """For a table."""
        if self.gpu_busy is not None:
            return f"GPU {self.gpu_busy:.0%}"
        return f"CPU {self.cpu / self.seconds:.0%}"


@contextmanager
def spent() -> Iterator[Spent]:
    """Measures the block."""
    result = Spent()
    with _sampled() as samples:
        began, cpu = time.perf_counter(), _cpu()
        yield result
        result.seconds, result.cpu = time.perf_counter() - began, _cpu() - cpu
    if samples:
        result.gpu_busy = sum(samples) / len(samples) / 100


def _cpu() -> float:
    times = os.times()
    return times.user + times.system


@contextmanager
def _sampled() -> Iterator[list[int]]:
    """NVML's utilisation in percent, of the first GPU that CUDA sees; none without a GPU."""
    import torch

    samples: list[int] = []
    if not torch.cuda.is_available():
        yield samples
        return
    over = threading.Event()

    def sample() -> None:
        while not over.wait(INTERVAL):
            samples.append(torch.cuda.utilization())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()
