"""Decimal numbers and boxed answers in free text: our own reader."""

from __future__ import annotations

import math
import re

_NUMBER = re.compile(
    r"(?<![\w.])[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d{1,3})?(?:\s?(?:π|\\pi))?"
)
_BOX = re.compile(r"\\boxed\{")
_BRACE = re.compile(r"[{}]")
_STATED = re.compile(r"(?:answer|result|therefore)\b[^.\n]{0,40}?(?:is|:|=)\s*(.+)", re.IGNORECASE)


def last_boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{…}` whose braces are balanced; None without one."""
    found = _boxes(text)
    if not found:
        return None
    start = max(found)
    return text[start + 1 : found[start]]


def boxes(text: str) -> list[str]:
    r"""The contents of all `\boxed{…}` with balanced braces, but for those inside of others."""
    found, contents, reached = _boxes(text), list[str](), -1
    for start in sorted(found):
        if start > reached:
            reached = found[start]
            contents.append(text[start + 1 : reached])
    return contents


def _boxes(text: str) -> dict[int, int]:
    """Where the braces of boxes open and close."""
    starts = {found.end() - 1 for found in _BOX.finditer(text)}
    found: dict[int, int] = {}
    opened: list[int] = []
    for brace in _BRACE.finditer(text) if starts else ():
        if brace.group() == "{":
            opened.append(brace.start())
        elif opened and (start := opened.pop()) in starts:
            found[start] = brace.start()
    return found


def last_number(text: str) -> float | None:
    """The number that is boxed or said to be the answer, else the last one; multiples of π are worked out."""
    boxed = last_boxed(text)
    stated = _STATED.findall(text)
    for part in (boxed, stated[-1] if stated else None, text):
        numbers = [each for each in _NUMBER.findall(part or "") if any(map(str.isdigit, each))]
        if numbers:
            return _value(numbers[0] if part is not text else numbers[-1])
    return None


def _value(number: str) -> float:
    plain = number.replace(",", "").replace("−", "-")
    head, pi, _ = plain.replace("\\pi", "π").partition("π")
    return float(head) * (math.pi if pi else 1.0)
