"""What a run is going to ask: tasks with the samples that were selected from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from muster.core import Generation, Message, Part, Request, RequestKey, Sample, VideoSettings
from muster.tasks.definition import Task


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """One task of a run, its samples after `--limit` and `--sample-ids`, and the settings in force."""

    task: Task
    samples: Sequence[Sample]
    generation: Generation
    repeats: int = 1
    video: VideoSettings | None = None
    """What is shown of its videos; None: what the task says."""

    @property
    def shown(self) -> VideoSettings | None:
        """What is shown of its videos; None where it has none."""
        return (self.video or self.task.video) if any(sample.videos for sample in self.samples) else None

    def keys(self) -> Iterator[RequestKey]:
        """Every request of the task, sample by sample, repeats of a sample together."""
        for sample in self.samples:
            for repeat in range(self.repeats):
                yield RequestKey(self.task.name, sample.id, repeat)

    def requests(self) -> Iterator[Request]:
        """The requests in the order of `keys`. Prompts are rendered once per sample."""
        for sample in self.samples:
            messages = self.messages(sample)
            for repeat in range(self.repeats):
                yield Request(RequestKey(self.task.name, sample.id, repeat), messages, self.generation)

    def messages(self, sample: Sample) -> tuple[Message, ...]:
        """What is asked about a sample, with what is to be shown of its videos."""
        return with_settings(self.task.prompt.render(sample), self.video or self.task.video)


def with_settings(messages: tuple[Message, ...], video: VideoSettings) -> tuple[Message, ...]:
    """The messages with what is to be shown of their videos."""
    if all(part.media is None or part.media.kind == "image" for each in messages for part in each.parts):
        return messages
    return tuple(
        Message(
            message.role,
            tuple(
                Part(media=replace(part.media, shown=video))
                if part.media is not None and part.media.kind == "video"
                else part
                for part in message.parts
            ),
        )
        for message in messages
    )
