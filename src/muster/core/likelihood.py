"""How likely given texts are after a prompt: what is asked of a model in place of an answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from muster.core.errors import SampleError


class Likelihood(NamedTuple):
    """Of one continuation."""

    log_probability: float
    """The sum over its tokens, natural logarithm, each after the prompt and the tokens before it."""
    tokens: int
    greedy: bool
    """Whether each of its tokens is the most likely one in its place."""


def check_tokens(continuations: Iterable[Sequence[int]]) -> None:
    """Raise `SampleError` where one has no tokens."""
    if not all(continuations):
        raise SampleError("a continuation has no tokens: how likely it is isn't defined")


def as_text(likelihoods: Sequence[Likelihood]) -> str:
    """An answer's text: `[[-3.5, 2, true], …]`, in the order of the request's continuations. Loses no digit."""
    return json.dumps([list(each) for each in likelihoods])


def from_text(text: str) -> list[Likelihood]:
    """The same again. Raises `ValueError` for another text."""
    try:
        return [
            Likelihood(float(value), int(tokens), bool(greedy)) for value, tokens, greedy in json.loads(text)
        ]
    except TypeError as error:
        raise ValueError(f"these are no likelihoods: {text[:80]}") from error
