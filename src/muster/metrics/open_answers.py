"""MMMU's official parser of open answers (Yue et al. 2024): what it takes for the answer, and what counts as right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

Parsed = float | str

INDICATORS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_PUNCTUATION = frozenset(":,.!?;'")
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?(?<!\d)\d++(?:\.\d++)?[eE][+-]?\d+"),
    re.compile(r"-?(?:(?<!\d)\d++\.\d++|\.\d++|(?<!\d)\d++\b)(?![eE][+-]?\d)(?![,\d])"),
)
"""The parser's patterns, without their trying a run of digits from each of its digits again: that took the square of
its length, and found nothing else."""


def parse_open(text: str, indicators: Sequence[str] = INDICATORS) -> list[Parsed]:
    """Everything that may be the answer, normalised, in order and without repetitions.

    `indicators` are the phrases after which it stands.
    """
    keys = _key_phrases(text, indicators)
    numbers = [number for key in keys for pattern in _NUMBERS for number in pattern.findall(key)]
    return list(dict.fromkeys(form for found in (*keys, *numbers) for form in normal_forms(found)))


def is_right(parsed: Iterable[Parsed], answers: Iterable[str]) -> bool:
    """Whether a number equals an accepted one, or an accepted text occurs in a text."""
    accepted = [form for answer in answers for form in normal_forms(answer)]
    texts = [form for form in accepted if isinstance(form, str)]
    return any(
        any(text in said for text in texts) if isinstance(said, str) else said in accepted for said in parsed
    )


def normal_forms(text: str) -> list[Parsed]:
    """A number, rounded to two digits; a text in lower case; one character with a blank before and after it."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
    return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def _key_phrases(text: str, indicators: Sequence[str]) -> list[str]:
    """What follows an indicator ("is ", "thus ", in the last line also "="), the shortest per line; else all of it."""
    text = text.strip().strip(".").lower()
    lines = text.split("\n")
    found = [
        _shortest_tail(line, (*indicators, "=") if number == len(lines) else indicators)
        for number, line in enumerate(lines, start=1)
    ]
    return [tail for tail in found if tail and tail not in _PUNCTUATION] or [text]


def _shortest_tail(line: str, indicators: Sequence[str]) -> str:
    shortest = ""
    for indicator in indicators:
        if indicator in line:
            tail = line.rpartition(indicator)[2].strip()
            if not shortest or len(tail) < len(shortest):
                shortest = tail
    return shortest
