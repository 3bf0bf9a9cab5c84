"""VLMEvalKit's Video-MME answers: the first letter after its list of introductions is removed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from muster.metrics.letters.vlmevalkit import NO_OPTION, infer_letter

_INTRODUCTIONS = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option isThe correct option is",  # sic: a comma is missing, so "Best answer: C" reads as B
    "Best answer:Best option:",
    "Answer:",
    "Option:",
)
_LETTER = re.compile(r"[ABCD]")


def first_letter(text: str, options: Mapping[str, str]) -> str | None:
    """The first of A to D, also inside a word; else what `infer_letter` finds; `Z` for nothing."""
    found = _LETTER.search(without_introductions(text))
    if found:
        return found.group()
    return infer_letter(text, without_labels(options)) or NO_OPTION


def without_introductions(text: str, introductions: Sequence[str] = _INTRODUCTIONS) -> str:
    """The answer without any of the phrases that the toolkit takes out, wherever they stand."""
    shortened = text.strip()
    for introduction in introductions:
        shortened = shortened.replace(introduction, "")
    return shortened


def without_labels(options: Mapping[str, str]) -> dict[str, str]:
    """The options' texts where the dataset has the letter before them: `A. cat` to `cat`."""
    return {letter: text.removeprefix(f"{letter}.").strip(". \n") for letter, text in options.items()}
