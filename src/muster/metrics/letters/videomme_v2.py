"""Video-MME-v2's readers of letters: the authors' and lmms-eval's."""

from __future__ import annotations

import re
from collections.abc import Mapping

_COMMON = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option is",
    "The correct option is",
)
_OFFICIAL = ("Final Answer:", *_COMMON, "Best answer:", "Best option:", "Answer:", "Option:")
_LMMS_EVAL = (*_COMMON, "Final Answer:", "Best answer:", "Best option:", "Answer:", "Option:")
_LETTER = re.compile("[A-H]")
_ALONE = r"(?:\*\*[ \t]*)?([A-H])(?:[ \t]*\*\*)?[ \t]*"
_LAST_LINE = re.compile(rf"(?:^|\n)[ \t]*{_ALONE}[.)]?[ \t]*$", re.IGNORECASE)
_START = re.compile(rf"^[ \t]*{_ALONE}(?:[.)]|\r?\n|$)", re.IGNORECASE)
_STATED = re.compile(
    rf"(?:{'|'.join(map(re.escape, _LMMS_EVAL))}|\b(?:answer|option)(?:\s+(?:is|would\s+be)|\s*:))[\s:*]*([A-H])\b",
    re.IGNORECASE,
)
_BOLD = re.compile(r"\*\*\s*([A-H])(?=\s*\*\*|[.)])", re.IGNORECASE)
_MANY_WORDS = 10


def official(text: str, _options: Mapping[str, str]) -> str | None:
    """The first of A to H anywhere, without a few phrases ("Answer" after "Final" stays: it is A)."""
    text = text.strip()
    for phrase in _OFFICIAL:
        text = text.replace(phrase, "")
    found = _LETTER.search(text)
    return found.group() if found else None


def lmms_eval(text: str, options: Mapping[str, str]) -> str | None:
    """A letter that is a last or first line, the last that is stated, the only bold one, or the only option's text."""
    text = text.strip()
    for pattern in (_LAST_LINE, _START):
        found = pattern.search(text)
        if found:
            return str(found.group(1)).upper()
    stated = _STATED.findall(text)
    if stated:
        return str(stated[-1]).upper()
    bold: set[str] = {letter.upper() for letter in _BOLD.findall(text)}
    if len(bold) == 1:
        return bold.pop()
    named = [letter for letter, option in options.items() if option.strip(". \n").lower() in text.lower()]
    return named[0] if len(named) == 1 else None
