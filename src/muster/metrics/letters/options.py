"""The options of a question by letter."""

from __future__ import annotations

import random
import string
from collections.abc import Mapping, Sequence
from typing import Protocol


class LetterReader(Protocol):
    """Reads the chosen letter out of an answer."""

    def __call__(self, text: str, options: Mapping[str, str], /) -> str | None:
        """The letter, or None where the scoring variant finds none. Never raises, never guesses at random."""
        ...


def lettered(choices: Sequence[str]) -> dict[str, str]:
    """`{"A": first, "B": second, …}` for up to 26 choices; an empty one is no option, and has its letter to itself."""
    if not choices:
        return {}
    named = dict(zip(string.ascii_uppercase, choices, strict=False))
    return named if all(choices) else {letter: text for letter, text in named.items() if text} or named


def drawn_letter(key: str, options: Mapping[str, str]) -> str:
    """One of the letters at random, for toolkits that guess: `key`, the sample's id, decides it, and not the order."""
    return random.Random(key).choice(list(options))
