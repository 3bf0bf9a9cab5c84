"""How lmms-eval infers MMBench's letters: an option letter among the words, else the only option text that occurs."""

from __future__ import annotations

from collections.abc import Mapping

from muster.metrics.letters.lmms_eval import extract_letter
from muster.metrics.letters.vlmevalkit import API_FAILURE

_LETTERS = "ABCDE"
_OPTIONS = "ABCD"
_ABSENT = "nan"
"""What the table of questions holds where there is no option; taken for its text (sic: "banana" has it)."""
_WRAPPED = (
    "{}.", "{},", "{}:", "{})", "{}).", "({})", "({}).", ":{}", ":{},", ":{}.", ":{})", ":{}).",
)  # fmt: skip
_ARTICLE_FROM = 4
"""Words of an answer from which on an A among them is taken for an article."""


def can_infer(text: str, options: Mapping[str, str]) -> str | None:
    """The letter, or None where the toolkit would ask its judge."""
    text = text.strip()
    letter = None if API_FAILURE in text else _from_letters(text)
    if letter is not None:
        return letter
    lowered = text.lower()
    named = [letter for letter in _OPTIONS if options.get(letter, _ABSENT).lower() in lowered]
    return named[0] if len(named) == 1 else None


def _from_letters(text: str) -> str | None:
    words = text.split()
    alone = [letter for letter in _LETTERS if letter in words]
    if len(alone) == 1 and not ("A" in words and len(words) >= _ARTICLE_FROM):
        return alone[0]
    for shape in _WRAPPED:
        wrapped = [letter for letter in _LETTERS if shape.format(letter) in words]
        if len(wrapped) == 1:
            return wrapped[0]
    return None


def static(text: str, options: Mapping[str, str]) -> str | None:
    """Without a judge: what can be inferred, else whatever `extract_letter` finds."""
    return can_infer(text, options) or extract_letter(text)
