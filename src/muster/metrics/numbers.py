"""Whether a text is a number, a whole number read out of an answer, and the words that toolkits know."""

from __future__ import annotations

from muster.metrics.number_reading import read_number
from muster.metrics.spelled_numbers import SMALL

UP_TO_TWENTY = {word: number for word, number in SMALL.items() if number <= 20}
"""Number words up to twenty."""


def is_float(text: str) -> bool:
    """Whether Python reads a number in it, which authors' code asks by trying; `nan` and `inf` are numbers."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def stated_number(text: str) -> str | None:
    """The whole number that a text gives (`number_reading`), in digits; None where there is none, or several."""
    number = read_number(text)
    return str(number.numerator) if number is not None and number.denominator == 1 else None
