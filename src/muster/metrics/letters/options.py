"""The options of a question by letter."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Protocol


class LetterReader(Protocol):
    """Reads the chosen letter out of an answer."""

    def __call__(self, text: str, options: Mapping[str, str], /) -> str | None:
        """The letter, or None where the convention finds none. Never raises, never guesses at random."""
        ...


def lettered(choices: Sequence[str]) -> dict[str, str]:
    """`{"A": first, "B": second, …}` for up to 26 choices; an empty one is no option, and has its letter to itself."""
    pairs = zip(string.ascii_uppercase, choices, strict=False)
    return {letter: text for letter, text in pairs if text}
