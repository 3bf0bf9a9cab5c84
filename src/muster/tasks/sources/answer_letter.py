"""A multiple-choice answer as its letter, however the dataset writes it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from string import ascii_uppercase

from muster.core.text import did_you_mean
from muster.tasks.problems import shown
from muster.tasks.sources.field_rules import AnswerForm

_POSITIONS = {letter: position for position, letter in enumerate(ascii_uppercase)}
_LETTER = re.compile(r"\(?([A-Za-z])[).]?")


def as_letters(answer: str, choices: Sequence[str], form: AnswerForm) -> str:
    """The letter of the choice that `answer` means; of a text that several choices have, all their letters.

    `(b)`, `B.` and the full-width `Ｂ` are B.

    Raises:
        ValueError: it means none of the choices (or an empty one); says what was expected.
    """
    if (
        form == "letter"
        and -1 < (position := _POSITIONS.get(answer, -1)) < len(choices)
        and choices[position]
    ):
        return answer
    letters = [letter for letter, choice in zip(ascii_uppercase, choices, strict=False) if choice]
    match form:
        case "letter":
            found = _LETTER.fullmatch(unicodedata.normalize("NFKC", answer).strip())
            if found and found[1].upper() in letters:
                return found[1].upper()
            hint = (
                " (the choice's text: say `answer: {column: …, given_as: text}` under `fields`)"
                if answer in choices
                else ""
            )
            known = f"A to {letters[-1]}" if len(letters) == len(choices) else ", ".join(letters)
            raise ValueError(f"{shown(answer)} is not one of the letters {known}{hint}")
        case "text":
            for written in (answer, _as_whole(answer)):
                if written and written in choices:
                    same = zip(ascii_uppercase, choices, strict=False)
                    return "".join(letter for letter, choice in same if choice == written)
            raise ValueError(f"{shown(answer)} is none of the choices{did_you_mean(answer, choices)}")
        case _:
            first = 0 if form == "index" else 1
            number = _as_whole(answer)
            position = int(number) - first if re.fullmatch(r"\d{1,3}", number) else -1
            if 0 <= position < len(choices) and choices[position]:
                return ascii_uppercase[position]
            last = len(choices) - 1 + first
            raise ValueError(f"{shown(answer)} is not a choice's number from {first} to {last}")


def _as_whole(answer: str) -> str:
    """`2` for `2.0`, which a data frame makes of it where a cell of the column is empty."""
    text = answer.strip()
    return text.removesuffix(".0") if re.fullmatch(r"-?\d+\.0", text) else answer
