"""Video-MMMU's parser of multiple-choice answers: MMMU's, which looks for `X.` and `X:` first, and guesses nothing."""

from __future__ import annotations

from collections.abc import Mapping

_STRIPPED = ",.!?;:'"
_TEXTS_FROM = 6
"""Words of an answer from which on option texts are looked for."""


def official(text: str, options: Mapping[str, str]) -> str | None:
    """Of several letters with a mark, the one whose mark comes last; None where there is nothing."""
    if not text:
        return None
    for char in _STRIPPED:
        text = text.strip(char)
    padded = f" {text} "
    marked = [letter for mark in ".:" for letter in options if f"{letter}{mark}" in padded]
    if marked:  # sic: where there is any period, letters with a colon only count as not found
        mark = "." if any(f"{letter}." in padded for letter in options) else ":"
        return _last(marked, {letter: padded.rfind(f"{letter}{mark}") for letter in marked})
    for shape, place in (("({})", "({})"), ("{} ", " {} ")):
        found = [letter for letter in options if shape.format(letter) in padded]
        if found:
            return _last(found, {letter: padded.rfind(place.format(letter)) for letter in found})
    lowered = padded.lower()
    named = [letter for letter, option in options.items() if option.lower() in lowered]
    if named and len(padded.split()) >= _TEXTS_FROM:
        return _last(named, {letter: lowered.rfind(options[letter].lower()) for letter in named})
    return None


def _last(letters: list[str], positions: Mapping[str, int]) -> str:
    return max(letters, key=positions.__getitem__)  # max keeps the first of equals
