"""Reads several letters out of one answer, for questions of which several options are right together."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping

from muster.metrics.letters.muster import clean, plain_option, read_choice
from muster.metrics.letters.statements import LATIN, NEGATION

_ITEM = r"[(\[\"'“]?[A-Z][)\]\"'”]?"
_BETWEEN = r"(?:\s?[,;、]\s?(?:(?:and|&)\s)?|\s?[/&+和与]\s?|\s(?:and|und|et|y|e|plus)\s|\s)"
_LIST = rf"(?:{_ITEM}(?:{_BETWEEN}{_ITEM}){{1,25}}|[A-Z]{{2,26}})(?![{LATIN}])"
_ALONE = re.compile(rf"\W*({_LIST})\W*")
_STATED = re.compile(
    r"(?:answers?|options?|choices?|letters?|statements?|答案|选项)\s?(?:is|are|:|=|是|为|include)?\s?"
    rf"(?:both |options? |choices? |letters? |:\s?)?({_LIST})(?!\s?or\b)",
)
_LABEL = re.compile(rf"^\W*([A-Z])(?:[).:,]|\W*$|\s?[-–—]\s)(?![{LATIN}])")
_WORD = re.compile(r"[a-z]{2}")
_LETTER = re.compile(rf"(?<![{LATIN}])[A-Z](?![{LATIN}])|(?<![{LATIN}])[A-Z]{{2,26}}(?![{LATIN}])")


def read_choices(text: str, options: Mapping[str, str]) -> frozenset[str]:
    """The letters that `text` chooses; empty where it chooses none, or leaves open which ("A or C").

    A list of letters alone or as the stated answer, lines that begin with a letter, options' texts that occur, or what
    the default reader finds. Without options, any letter may be chosen.
    """
    letters = "".join(options) or string.ascii_uppercase
    plain = clean(text)
    alone = _ALONE.fullmatch(plain if _WORD.search(plain) else plain.upper())
    stated = list(_STATED.finditer(plain[:1].lower() + plain[1:])) or list(_STATED.finditer(plain))
    for found in (alone, stated[-1] if stated else None):
        if found is not None and (chosen := letters_of_list(found.group(1), letters)):
            return chosen
    return (
        _labelled(plain, letters)
        or _by_text(plain, options)
        or frozenset(letter for letter in [read_choice(text, options)] if letter)
    )


def letters_of_list(listed: str, letters: str) -> frozenset[str]:
    """The letters in "A, C" or "AC"; empty where one of them is no option's, or comes twice."""
    found = [letter for run in _LETTER.findall(listed) for letter in run]
    single = len(set(found)) == len(found)
    return frozenset(found) if found and single and set(found) <= set(letters) else frozenset()


def _labelled(text: str, letters: str) -> frozenset[str]:
    """The letters that begin its lines, where every line begins with one, but not with all of them."""
    lines = [line for line in text.split("\n") if line.strip()]
    found = [match.group(1) for line in lines if (match := _LABEL.match(line)) and match.group(1) in letters]
    return frozenset(found) if 1 < len(found) == len(lines) < len(letters) else frozenset()


def _by_text(text: str, options: Mapping[str, str]) -> frozenset[str]:
    if NEGATION.search(text):
        return frozenset()
    folded = text.casefold()
    found = {
        letter
        for letter, option in options.items()
        if (plain := plain_option(option)) and re.search(rf"(?<!\w){re.escape(plain)}(?!\w)", folded)
    }
    return frozenset(found) if 1 < len(found) < len(options) else frozenset()
