"""BLINK's answers as the authors' code and as lmms-eval read them."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from functools import cache

_LETTERS = "ABCDE"
_TERSE = 4
"""Characters of a first line that may be the letter alone."""


def official(text: str, options: Mapping[str, str]) -> str | None:
    """A letter alone, or the only one that is a word in brackets, `(B)`; None where the authors ask a language model.

    Of several the last paragraph's only one.
    """
    bracketed = {f"({letter})": letter for letter in _LETTERS}
    if text in _LETTERS and len(text) == 1:
        return text
    if text in bracketed:
        return bracketed[text]
    among = [f"({letter})" for letter in _LETTERS[: len(options)]]
    for part in (text.rpartition("\n\n")[2], text):
        words = set(part.split())
        found = [mark for mark in among if mark in words]
        if len(found) == 1:
            return bracketed[found[0]]
    return None


def lmms_eval(text: str, options: Mapping[str, str]) -> str | None:
    """A short first line, else the last stated letter, else the last in brackets, else a letter that it begins with."""
    text = text.strip()
    patterns = _patterns("".join(options) or string.ascii_uppercase)
    line = text.split("\n", 1)[0].strip()
    if len(line) <= _TERSE and (found := patterns["terse"].match(line)):
        return found.group(1).upper()
    for name in ("stated", "bracketed"):
        said = patterns[name].findall(text)
        if said:
            return str(said[-1]).upper()
    begins = patterns["begins"].match(text)
    return begins.group(1).upper() if begins else None


@cache
def _patterns(letters: str) -> Mapping[str, re.Pattern[str]]:
    any_case = re.IGNORECASE
    return {
        "terse": re.compile(rf"\(?([{letters}])\)?[.\s:,)]*$", any_case),
        "stated": re.compile(rf"answers?(?:\s+is)?\s*(?:[:\-]\s*)?\(?([{letters}])\)?(?![A-Za-z])", any_case),
        "bracketed": re.compile(rf"\(([{letters}])\)"),
        "begins": re.compile(rf"[(\s]*([{letters}])", any_case),
    }
