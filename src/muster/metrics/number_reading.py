r"""Which number an answer gives, in digits or in English words. Nothing is guessed; the rule is our own.

In this order: what is in the last `\boxed{}`, after the last "the answer is" (or total, result, count, sum), after the
last equals sign, else the only number of the text. Digits go before words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from muster.metrics.spelled_numbers import SIZES, SMALL, spelled_numbers

LONGEST = 50
"""Digits of a number, and the largest power of ten that multiplies it."""

_GAP = ", \u00a0\u2009\u202f'’"
"""What may stand between groups of three digits."""
_NUMBER = re.compile(
    r"(?<![\w^])(?<!\d[.,/])(?P<sign>(?<![)\]])[-+])?[$€£¥]?"
    rf"(?P<whole>\d{{1,3}}+(?:[{_GAP}]\d{{3}}(?!\d))++|\d++)?(?P<decimals>\.\d++)?(?<=\d)(?![.,]?\d)"
    r"(?:[eE](?P<power>[-+]?\d{1,3})(?!\w)|\s?(?:[x×*·]|\\times|\\cdot)\s?10\s?\^\s?\{?(?P<raised>[-+]?\d{1,3})(?!\d)\}?)?"
    rf"(?:\s?/\s?(?P<below>\d++)(?![/.,]?\d))?(?!\s?/\s?\d)(?:\s?(?P<size>{'|'.join(SIZES)})(?!\w))?",
    re.IGNORECASE,
)
_STATEMENTS = (
    re.compile(r"\\boxed\s?\{"),
    re.compile(
        r"\b(?:answer|result|total|count|sum)\b[^.:=\n\d]{0,30}?(?:\b(?:is|are|was|equals)\b|[:=≈])",
        re.IGNORECASE,
    ),
    re.compile(r"[=≈]"),
)
_MARKS = r"[\s*_\"'“(\[{\\~≈]{0,10}"
_LEADING = re.compile(
    rf"{_MARKS}(?:(?:about|approximately|roughly|around|exactly|only)\s)?{_MARKS}", re.IGNORECASE
)
_GOES_ON = re.compile(r"\s?(?:,|/|\bor\b|\band\b|\bto\b|[-–])\s?\d", re.IGNORECASE)
"""After a number: it is the first of a list, or a bound."""
_FRACTION = re.compile(r"\\[dt]?frac\s?\{(\d{1,50})\}\s?\{(\d{1,50})\}")
_WORD = re.compile(r"[^\W\d_]++")
_NEAR = 150
"""Characters after a statement in which its number ends."""


def read_number(text: str, *, last: bool = False) -> Fraction | None:
    """The number that `text` gives as its answer, exactly; None where it gives none, or several.

    With `last` it is the last one, where several are given and none is stated. Units are ignored.
    """
    text = text.replace("−", "-").replace("{,}", ",").replace("\\%", "%").replace("\\$", "$")
    text = _FRACTION.sub(r"\1/\2", text)
    for statement in _STATEMENTS:
        stated = [_number_at(text, match.end()) for match in statement.finditer(text)]
        if numbers := [number for number in stated if number is not None]:
            return numbers[-1]
    found = list(_in_digits(text)) or [Fraction(value) for value in spelled_numbers(text)]
    return found[-1] if found and (last or len(set(found)) == 1) else None


def _number_at(text: str, place: int) -> Fraction | None:
    """The number that begins here, after brackets, asterisks and words such as "about"."""
    near = text[place : place + _NEAR]
    leading = _LEADING.match(near)
    near = near[leading.end() :] if leading else near
    if digits := _NUMBER.match(near):
        return None if _GOES_ON.match(near, digits.end()) else _value(digits)
    word = _WORD.match(near)
    spelled = word is not None and word.group().casefold() in {*SMALL, "a", "minus", "negative"}
    return next((Fraction(value) for value in spelled_numbers(near)), None) if spelled else None


def _in_digits(text: str) -> Iterator[Fraction]:
    values = (_value(match) for match in _NUMBER.finditer(text))
    return (value for value in values if value is not None)


def _value(match: re.Match[str]) -> Fraction | None:
    whole = re.sub(f"[{_GAP}]", "", match["whole"] or "0")
    decimals, below = match["decimals"] or "", match["below"] or "1"
    power = int(match["power"] or match["raised"] or 0)
    if max(len(whole + decimals), len(below), abs(power)) > LONGEST or int(below) == 0:
        return None
    value = Fraction(whole + decimals) * Fraction(10) ** power / int(below)
    value *= SIZES.get((match["size"] or "").casefold(), 1)
    return -value if match["sign"] == "-" else value
