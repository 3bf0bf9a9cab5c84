"""EgoSchema's answers as lmms-eval reads them: of all letters that are marked, the one whose last mark comes first."""

from __future__ import annotations

from collections.abc import Mapping

_STRIPPED = ",.!?;:'"
_SHAPES = ("({})", "{} ", "{}.")
_TEXTS_FROM = 6
"""Words of an answer from which on option texts are looked for."""


def read_egoschema(text: str, options: Mapping[str, str]) -> str | None:
    """The letter whose mark has the smallest last position, `A ` in `DNA ` too; None where one is drawn at random."""
    text = text.strip()
    for char in _STRIPPED:
        text = text.strip(char)
    padded = f" {text} "
    marks = [(shape.format(letter), letter) for shape in _SHAPES for letter in options]
    marked = [(padded.rfind(mark), letter) for mark, letter in marks if mark in padded]
    if not marked and len(padded.split()) >= _TEXTS_FROM:
        lowered = padded.lower()
        texts = [(option.strip().lower(), letter) for letter, option in options.items()]
        marked = [(lowered.rfind(text), letter) for text, letter in texts if text in lowered]
    return min(marked, key=lambda mark: mark[0])[1] if marked else None  # min keeps the first of equals
