"""MMMU's official parser of multiple-choice answers (Yue et al. 2024), as InternVL has it and as lmms-eval changed it.

It guesses where it finds nothing. The toolkits draw from one random generator in the order of the questions, so that
their guesses depend on the order and on how many processes shared the work; here a guess is drawn by sample id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from muster.metrics.letters.options import drawn_letter

_STRIPPED = ",.!?;:'"
_TEXTS_FROM = 6
"""Words of an answer from which on option texts are looked for."""


class Choice(NamedTuple):
    """A letter, and whether it was drawn at random."""

    letter: str | None
    guessed: bool


def parse_choice(text: str, options: Mapping[str, str], *, internvl: bool, key: str) -> Choice:
    """The letter that `text` chooses, else one drawn by `key`; None only without options.

    `internvl` is the official parser; lmms-eval's takes `X ` for ` X ` and looks for `X.` too.
    """
    for char in _STRIPPED:
        text = text.strip(char)
    padded = f" {text} "
    bracketed = [letter for letter in options if f"({letter})" in padded]
    if bracketed:
        return Choice(_last(bracketed, {letter: padded.rfind(f"({letter})") for letter in bracketed}), False)
    shapes = (" {} ",) if internvl else ("{} ", "{}.")
    for shape in shapes:
        spaced = [letter for letter in options if shape.format(letter) in padded]
        if spaced:  # sic: the position is that of " X ", whichever shape was found
            return Choice(_last(spaced, {letter: padded.rfind(f" {letter} ") for letter in spaced}), False)
    lowered = padded.lower()
    if len(padded.split()) >= _TEXTS_FROM:
        named = [letter for letter, option in options.items() if option.lower() in lowered]
        if named:
            positions = {letter: lowered.rfind(options[letter].lower()) for letter in named}
            return Choice(_last(named, positions), False)
    return Choice(drawn_letter(key, options) if options else None, True)


def parse_pro_choice(text: str, options: Mapping[str, str], *, key: str) -> Choice:
    """MMMU-Pro's official parser: the only letter that occurs after the last "Answer:", else as lmms-eval's of MMMU."""
    _, found, stated = text.rpartition("Answer:")
    if found:
        named = [letter for letter in options if letter in stated]
        if len(named) == 1:
            return Choice(named[0], False)
    return parse_choice(text, options, internvl=False, key=key)


def _last(letters: list[str], positions: Mapping[str, int]) -> str:
    return max(letters, key=positions.__getitem__)  # max keeps the first of equals
