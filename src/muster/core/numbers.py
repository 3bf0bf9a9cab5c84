"""What a data frame makes of values: floats of whole numbers, where one of a column is missing; texts of booleans."""

from __future__ import annotations

from typing import TypeVar

Value = TypeVar("Value")

_EXACT = 2.0**53
"""From here on floats skip whole numbers."""


def whole(value: Value) -> Value | int:
    """3 for 3.0; every other value as it is."""
    if isinstance(value, float) and -_EXACT < value < _EXACT and value.is_integer():
        return int(value)
    return value


def as_boolean(text: str) -> str:
    """`true` for the `True` of a data frame and the `TRUE` of a spreadsheet; every other text as it is."""
    return text.lower() if text in ("True", "TRUE", "False", "FALSE") else text
