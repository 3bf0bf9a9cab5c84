"""Whole numbers that a data frame made floats of: it has no other way to keep a column in which a value is missing."""

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
