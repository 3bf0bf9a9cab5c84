"""The first number of a text, in digits or English words, as lmms-eval's VSI-Bench reads it."""

from __future__ import annotations

import re

from muster.metrics.spelled_numbers import SMALL

_HUNDRED, _THOUSAND = "hundred", "thousand"
_DIGITS = re.compile(r"-?\d+(?:\.\d+)?")
_LETTERS = re.compile("[a-z]+")


def first_number(text: str) -> float | None:
    """What comes first: digits, or number words in a row ("three hundred and one"). None where there is neither."""
    text = text.strip().lower()
    digits = _DIGITS.search(text)
    start, words = _number_words(text)
    if digits and (not words or digits.start() < start):
        return float(digits.group())
    return _value(words) if words else None


def _number_words(text: str) -> tuple[int, list[str]]:
    start, words = 0, list[str]()
    for found in _LETTERS.finditer(text):
        word = found.group()
        if word in SMALL or word in (_HUNDRED, _THOUSAND):
            start = start if words else found.start()
            words.append(word)
        elif words and word != "and":
            break
    return start, words


def _value(words: list[str]) -> float:
    total = current = 0
    for word in words:
        if word == _HUNDRED:
            current = max(current, 1) * 100
        elif word == _THOUSAND:
            total, current = total + max(current, 1) * 1000, 0
        else:
            current += SMALL[word]
    return float(total + current)
