"""A whole number read out of an answer: our own reader, strict about what counts."""

from __future__ import annotations

import re
import unicodedata

_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
SMALL = {word: number for number, word in enumerate(_WORDS)}
"""Number words up to twenty."""

_SPELLED = "|".join(sorted(SMALL, key=len, reverse=True))
_NUMBER = rf"(?<![\w.,/-])(?:\d{{1,3}}(?:,\d{{3}})+|\d+|{_SPELLED})(?:\.0+)?(?![\w/]|[.,-]\d)"
_NUMBERS = re.compile(_NUMBER)
_STATED = re.compile(
    rf"(?:\\boxed\s*\{{\s*|\b(?:answer|count|total|number)\b[^.\n\d]{{0,30}}?(?:is|are|:|=|of)\s*[\"'(\[$]*)({_NUMBER})"
)
_MARKUP = re.compile(r"[*_`$]|\\text\s?(?=\{)|</?[a-z]{1,12}>")


def stated_number(text: str) -> str | None:
    """The last number that is said to be the answer (boxed, "the answer is 3"), else the only one; None otherwise.

    In digits without separators; words count up to twenty, where there are no digits.
    """
    text = _MARKUP.sub("", unicodedata.normalize("NFKC", text).casefold())
    stated = _STATED.findall(text)
    if stated:
        return _digits(stated[-1])
    found = _NUMBERS.findall(text)
    numbers = {_digits(number) for number in found if number not in SMALL} or set(map(_digits, found))
    return numbers.pop() if len(numbers) == 1 else None


def _digits(number: str) -> str:
    if number in SMALL:
        return str(SMALL[number])
    return number.split(".")[0].replace(",", "").lstrip("0") or "0"
