"""What counts as an empty cell."""

from __future__ import annotations

import math


def absent(value: object) -> bool:
    """Whether a cell says nothing: null, an empty text, or the NaN that data frames put for null."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))
