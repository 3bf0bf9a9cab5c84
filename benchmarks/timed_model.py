"""The transformers backend in this process, and what a run took from its first claim to its last answer."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch

from benchmarks.busy import Spent, spent
from muster.config import load_config
from muster.core import Completion
from muster.models.protocol import ModelSettings, RequestStream
from muster.models.transformers.backend import TransformersModel
from muster.report.display import Silent
from muster.results.journal_read import read_journal
from muster.results.results import Results
from muster.run import run

NO_END = {"generation_eos_token_id": (1 << 31) - 1}
"""A token that no vocabulary has: answers end at their length."""


class Timed(TransformersModel):
    """The backend of `muster run`, which notes its times and how large its batches may be."""

    latest: ClassVar[list[Timed]] = []

    def __init__(self, settings: ModelSettings) -> None:
        """Load the model, and wait for the process that prepares its batches."""
        super().__init__(settings)
        while self._process is not None and not self._process.ready:
            time.sleep(0.01)
        self.times: list[Spent] = []
        self.limits = [self._batch_size.limit]
        Timed.latest.append(self)

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        """Measured from the first claim to the last answer."""
        with spent() as found:
            for completion in super().generate(requests):
                if self._batch_size.limit != self.limits[-1]:
                    self.limits.append(self._batch_size.limit)
                yield completion
        self.times.append(found)

    @property
    def total(self) -> Spent:
        """Of all calls; how busy the device was in the first, which has nearly all."""
        return Spent(
            sum(each.seconds for each in self.times),
            sum(each.cpu for each in self.times),
            self.times[0].gpu_busy,
        )


class TimedRun(NamedTuple):
    """A run that has ended; its model is still loaded."""

    model: Timed
    results: Results
    answers: dict[tuple[str, str], str]
    """By task and sample."""

    @property
    def failed(self) -> int:
        """Requests without an answer."""
        return sum(task.samples.errored for task in self.results.tasks.values())

    def close(self) -> None:
        """Let the model go."""
        self.model.close()


def timed_run(options: dict[str, object], output: Path, backend: type[Timed] = Timed) -> TimedRun:
    """`muster run` in this process with a backend of this kind. The previous run's model must have been dropped."""
    release()
    given = {
        **options,
        "output": str(output),
        "engine": "inline",
        "backend": f"{backend.__module__}:{backend.__name__}",
    }
    results = run(load_config(given), Silent())
    completions = [record.completion for record in read_journal(output / "journal.jsonl")]
    answers = {(each.key.task, each.key.sample_id): each.text or "" for each in completions}
    return TimedRun(Timed.latest.pop(), results, answers)


def release() -> None:
    """Give the memory of models that were dropped back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
