"""What a run is going to ask: tasks with the samples that were selected from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from muster.core import Generation, Request, RequestKey, Sample
from muster.tasks.definition import Task


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """One task of a run, its samples after `--limit` and `--sample-ids`, and the settings in force."""

    task: Task
    samples: Sequence[Sample]
    generation: Generation
    repeats: int = 1

    def keys(self) -> Iterator[RequestKey]:
        """Every request of the task, sample by sample, repeats of a sample together."""
        for sample in self.samples:
            for repeat in range(self.repeats):
                yield RequestKey(self.task.name, sample.id, repeat)

    def requests(self) -> Iterator[Request]:
        """The requests in the order of `keys`. Prompts are rendered once per sample."""
        for sample in self.samples:
            messages = self.task.prompt.render(sample)
            for repeat in range(self.repeats):
                yield Request(RequestKey(self.task.name, sample.id, repeat), messages, self.generation)
