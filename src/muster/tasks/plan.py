"""What a run is going to ask: tasks with the samples that were selected from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from muster.core import (
    Generation,
    ImageSettings,
    Media,
    Message,
    Part,
    Request,
    RequestKey,
    Sample,
    VideoSettings,
)
from muster.tasks.definition import Task
from muster.tasks.dialogue import conversation
from muster.tasks.samples import IMAGES, LATER_TURN, VIDEOS, Samples

AnswerTo: TypeAlias = Callable[[RequestKey], str]
"""The model's answer to a request, for those that continue it."""

_USUAL_IMAGES = ImageSettings()
CHARACTERS_PER_TOKEN = 4
"""So that an answer that isn't known yet takes as much of the prompt as it may."""


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """One task of a run, its samples after `--limit` and `--sample-ids`, and the settings in force."""

    task: Task
    samples: Sequence[Sample]
    generation: Generation
    repeats: int = 1
    video: VideoSettings | None = None
    """What is shown of its videos; None: what the task says."""
    image: ImageSettings | None = None
    """How its images are opened; None: as the task says."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", Samples.of(self.samples))

    @property
    def compact(self) -> Samples:
        """The samples, which are held in little room however they were given."""
        return Samples.of(self.samples)

    @property
    def shown(self) -> VideoSettings | None:
        """What is shown of its videos; None where it has none."""
        return (self.video or self.task.video) if self.compact.any_have(VIDEOS) else None

    @property
    def opened(self) -> ImageSettings | None:
        """How its images are opened; None where it has none."""
        return (self.image or self.task.image) if self.compact.any_have(IMAGES) else None

    @property
    def has_dialogues(self) -> bool:
        """Whether some samples continue others' answers."""
        return self.task.earlier_answers == "model" and self.compact.any_have(LATER_TURN)

    def keys(self) -> Iterator[RequestKey]:
        """Every request of the task, sample by sample, repeats of a sample together."""
        for sample_id in self.compact.ids():
            for repeat in range(self.repeats):
                yield RequestKey(self.task.name, sample_id, repeat)

    def requests(self, answer_to: AnswerTo | None = None) -> Iterator[Request]:
        """The requests in the order of `keys`. Prompts are rendered once per sample, but for later turns of dialogues.

        Without `answer_to` the model's earlier answers in a dialogue are filler, as long as answers may be.
        """
        known = answer_to or (lambda _key: "x" * (CHARACTERS_PER_TOKEN * self.generation.max_new_tokens))
        for sample in self.samples:
            request = self.request(sample, 0, known)
            yield request
            for repeat in range(1, self.repeats):
                key = self.key(sample, repeat)
                yield (
                    self.request(sample, repeat, known)
                    if self.continues(sample)
                    else replace(request, key=key)
                )

    def request(self, sample: Sample, repeat: int, answer_to: AnswerTo) -> Request:
        """The request for one sample and repeat, with the turns before it where it is a turn of a dialogue."""
        messages = conversation(self.task, sample, lambda turn: answer_to(self.key(turn, repeat)))
        shown = with_settings(messages, self.video or self.task.video, self.image or self.task.image)
        continuations = sample.choices if self.task.likelihoods else ()
        return Request(self.key(sample, repeat), shown, self.generation, continuations)

    def later_round(self, key: RequestKey, messages: tuple[Message, ...]) -> Request:
        """The request for a further round of a sample, under the name of that round."""
        shown = with_settings(messages, self.video or self.task.video, self.image or self.task.image)
        return Request(key, shown, self.generation)

    def key(self, sample: Sample, repeat: int) -> RequestKey:
        """The name of the request for one sample and repeat."""
        return RequestKey(self.task.name, sample.id, repeat)

    def continues(self, sample: Sample) -> bool:
        """Whether the sample can only be asked when the model has answered another one."""
        return sample.previous is not None and self.task.earlier_answers == "model"


def with_settings(
    messages: tuple[Message, ...], video: VideoSettings, image: ImageSettings
) -> tuple[Message, ...]:
    """The messages with what is to be shown of their videos, and how their images are opened."""
    kinds = {part.media.kind for message in messages for part in message.parts if part.media is not None}
    if not kinds:
        return messages
    usual = image == _USUAL_IMAGES
    if usual and kinds == {"image"}:
        return messages

    def set_up(part: Part) -> Part:
        if part.media is None or (usual and part.media.kind == "image"):
            return part
        return Part(media=with_media_settings(part.media, video, image))

    return tuple(replace(message, parts=tuple(map(set_up, message.parts))) for message in messages)


def with_media_settings(media: Media, video: VideoSettings, image: ImageSettings) -> Media:
    """A media item as a task's settings have it."""
    return replace(media, shown=video) if media.kind == "video" else replace(media, image=image)
