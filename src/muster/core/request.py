"""One thing to ask a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from muster.core.media import Media

Role = Literal["system", "user", "assistant"]


class RequestKey(NamedTuple):
    """Names a request in every run of the same task, whoever works on it."""

    task: str
    sample_id: str
    repeat: int = 0

    def __str__(self) -> str:
        """`task/sample`, with the repeat where it is not the first."""
        return f"{self.task}/{self.sample_id}" + (f"#{self.repeat}" if self.repeat else "")


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a message: text or one media item, never both. Order is the prompt's order."""

    text: str | None = None
    media: Media | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the conversation, text and media interleaved."""

    role: Role
    parts: tuple[Part, ...]
    special_tokens: tuple[str, ...] = ()
    """Special tokens that the task's own words contain, such as `<ref>`: they are meant as such. In what comes from the
    data they are text."""

    @property
    def text(self) -> str:
        """The message's text without its media."""
        return "".join(part.text or "" for part in self.parts)


@dataclass(frozen=True, slots=True)
class Generation:
    """How to generate. Temperature 0 is greedy decoding; sampling draws from `seed` and the request's key."""

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    """Generation ends at the first of these; the answer does not contain it."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """The chat messages and generation settings for one sample and repeat."""

    key: RequestKey
    messages: tuple[Message, ...]
    generation: Generation = Generation()
    continuations: tuple[str, ...] = ()
    """Where there are any, no answer is asked for, but how likely each of these texts is after the prompt."""

    @property
    def media(self) -> tuple[Media, ...]:
        """All media of the prompt, in its order."""
        return tuple(part.media for message in self.messages for part in message.parts if part.media)

    @property
    def text_length(self) -> int:
        """Characters of text in the prompt."""
        return sum(len(part.text) for message in self.messages for part in message.parts if part.text)
