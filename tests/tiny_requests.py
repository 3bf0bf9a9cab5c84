"""Requests for the tiny models: images of noise, questions, and a list that plays the scheduler."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from muster.core import Completion, Generation, Media, Message, Part, Request, RequestKey
from muster.models.protocol import Model


class ListStream:
    """A request stream over a list; remembers how many were asked for at a time."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self.pending = list(requests)
        self.limits: list[int] = []

    def __iter__(self) -> Iterator[Request]:
        return self

    def __next__(self) -> Request:
        if not self.pending:
            raise StopIteration
        return self.pending.pop(0)

    def take(self, limit: int) -> list[Request]:
        self.limits.append(limit)
        taken, self.pending = self.pending[:limit], self.pending[limit:]
        return taken


def noise(seed: int, width: int = 16, height: int = 16) -> Media:
    """A PNG of noise around a colour of its own."""
    random = np.random.default_rng(seed)
    colour = random.integers(0, 200, 3)
    pixels = (colour + random.integers(0, 56, (height, width, 3))).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return Media("image", data=buffer.getvalue())


def ask(
    name: str,
    question: str,
    images: Sequence[Media] = (),
    generation: Generation | None = None,
    system: str | None = None,
) -> Request:
    """One question, its images first."""
    parts = (*(Part(media=image) for image in images), Part(text=question))
    instructions = () if system is None else (Message("system", (Part(text=system),)),)
    messages = (*instructions, Message("user", parts))
    return Request(RequestKey("tiny", name), messages, generation or Generation(max_new_tokens=12))


def likelihood_requests() -> list[Request]:
    """How likely texts are, several or one, after prompts of different lengths with a picture each."""
    options = ((" red", " green and yellow", " 7"), (" 3",), (" the digit is 4, or it is 9", " 8"))
    return [
        replace(
            ask(str(number), "Which digit is shown? " * (1 + number), [noise(number, 32, 32)]),
            continuations=each,
        )
        for number, each in enumerate(options)
    ]


def answers(model: Model, requests: Iterable[Request]) -> dict[str, Completion]:
    """Completions by sample id, each request answered exactly once."""
    asked = list(requests)
    completions = list(model.generate(ListStream(asked)))
    assert sorted(c.key for c in completions) == sorted(request.key for request in asked)
    return {completion.key.sample_id: completion for completion in completions}


def texts(completions: dict[str, Completion]) -> dict[str, str]:
    """The answers' texts; a failure fails the test with its message."""
    result = {}
    for name, completion in completions.items():
        assert completion.failure is None, completion.failure.traceback
        assert completion.text is not None
        result[name] = completion.text
    return result
