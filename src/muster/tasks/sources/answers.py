"""A multiple-choice answer as its letter, however the dataset writes it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

from muster.tasks.problems import did_you_mean, shown
from muster.tasks.sources.field_rules import AnswerForm

_LETTER = re.compile(r"\(?([A-Za-z])[).]?")


def as_letter(answer: str, choices: Sequence[str], form: AnswerForm) -> str:
    """The letter of the choice that `answer` means. `(b)` and `B.` are B.

    Raises:
        ValueError: it means none of the choices; says what was expected.
    """
    letters = ascii_uppercase[: len(choices)]
    match form:
        case "letter":
            found = _LETTER.fullmatch(answer.strip())
            if found and found[1].upper() in letters:
                return found[1].upper()
            hint = (
                " (the choice's text: say `answer: {column: …, given_as: text}` under `fields`)"
                if answer in choices
                else ""
            )
            raise ValueError(f"{shown(answer)} is not one of the letters A to {letters[-1]}{hint}")
        case "text":
            if answer in choices:
                return letters[list(choices).index(answer)]
            raise ValueError(f"{shown(answer)} is none of the choices{did_you_mean(answer, choices)}")
        case _:
            first = 0 if form == "index" else 1
            position = int(answer) - first if re.fullmatch(r"\d{1,3}", answer) else -1
            if 0 <= position < len(letters):
                return letters[position]
            last = len(letters) - 1 + first
            raise ValueError(f"{shown(answer)} is not a choice's number from {first} to {last}")
