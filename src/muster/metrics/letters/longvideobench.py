"""LongVideoBench's answers: the first letter from A to E after a list of introductions is taken out."""

from __future__ import annotations

import re
from collections.abc import Mapping

from muster.metrics.letters.videomme import without_introductions

_LMMS_EVAL = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option is",
    "The correct option is",
    "Best answer:",
    "Best option:",
)
_LETTER = re.compile(r"[ABCDE]")


def lmms_eval(text: str, _options: Mapping[str, str]) -> str | None:
    """Also a letter inside a word ("Cannot" is C), or of no option; None where the toolkit draws one at random."""
    return _first(without_introductions(text, _LMMS_EVAL))


def vlmevalkit(text: str, _options: Mapping[str, str]) -> str | None:
    """The same with its own list, from which commas are missing; None is wrong there, since its data has no options."""
    return _first(without_introductions(text))


def _first(text: str) -> str | None:
    found = _LETTER.search(text)
    return found.group() if found else None
