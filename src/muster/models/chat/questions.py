"""From messages to what `model.chat` takes: a question, the turns before it, and images in the order of their marks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from muster.core import Media, Message, SampleError
from muster.media import describe

IMAGE = "<image>"
"""What `chat` replaces with an image's tokens, from the first in the prompt on."""
RESERVED = (IMAGE, "<IMG_CONTEXT>", "<img>", "</img>")


class Turn(NamedTuple):
    """An earlier question and its answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt."""

    text: str
    history: tuple[Turn, ...] = ()
    system: str | None = None
    """In place of the model's own system message; None leaves that."""
    media: tuple[Media, ...] = ()
    """Of all turns: an image for one `<image>`, a video for as many as it has frames."""


def question_of(
    messages: Sequence[Message], video_texts: Sequence[str] = (), special: Sequence[str] = ()
) -> Question:
    """Messages in the form that InternVL was trained on.

    A single image comes first, as `<image>` on a line of its own. Several are numbered through all turns, `Image-1:
    <image>`, one per line before the turn's text; where an image stood in the middle of a text, the text says
    `<Image-1>` (as VLMEvalKit writes it). A video stands before the text too, as its entry in `video_texts` (by the
    order of videos): a line `Frame1: <image>` for each frame.

    Raises `SampleError` for what `chat` can't express, and for words of the data that are `special` to the tokenizer.
    """
    system = [message.text for message in messages if message.role == "system"]
    turns = [message for message in messages if message.role != "system"]
    if len(system) > 1 or (system and messages[0].role != "system"):
        raise SampleError("the chat backend takes one system message, before the others")
    for place, message in enumerate(turns):
        if message.role != ("user", "assistant")[place % 2]:
            raise SampleError(
                "the chat backend takes questions and answers in turn, beginning with a question"
            )
    if len(turns) % 2 == 0:
        raise SampleError("the chat backend needs a question as the last message")
    media = _media(turns)
    _check_texts(messages, (*special, *(RESERVED if media else ())))
    numbers, videos = count(1), iter(video_texts)
    several = sum(each.kind == "image" for each in media) > 1
    texts = [_turn_text(message, numbers, videos, numbered=several) for message in turns]
    history = tuple(map(Turn, texts[:-1:2], texts[1:-1:2]))
    return Question(texts[-1], history, system[0] if system else None, media)


def _turn_text(message: Message, numbers: count[int], videos: Iterator[str], *, numbered: bool) -> str:
    marks: list[str] = []
    text = ""
    for part in message.parts:
        if part.media is None:
            text += part.text or ""
            continue
        if part.media.kind == "video":
            marks.append(next(videos))
            continue
        number = next(numbers)
        marks.append(f"Image-{number}: {IMAGE}\n" if numbered else f"{IMAGE}\n")
        if numbered and text.strip():
            text += f"<Image-{number}>"
    return "".join(marks) + (text.lstrip("\n") if marks else text)


def _media(turns: Sequence[Message]) -> tuple[Media, ...]:
    found: list[Media] = []
    for message in turns:
        for part in message.parts:
            if part.media is None:
                continue
            if message.role == "assistant":
                raise SampleError(
                    f"{describe(part.media)}: the chat backend takes no {part.media.kind}s in answers"
                )
            found.append(part.media)
    return tuple(found)


def _check_texts(messages: Sequence[Message], special: Sequence[str]) -> None:
    """A mark that a text has of itself would be taken for an image's, or for the end of a turn."""
    for message in messages:
        for mark in special:
            if mark in message.text and mark not in message.special_tokens:
                raise SampleError(
                    f"the question's own words contain {mark}, by which the model marks images or ends a turn; its "
                    "chat method can't ask it as text"
                )
