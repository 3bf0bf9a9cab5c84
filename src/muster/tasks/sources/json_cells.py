"""Cells as JSON holds them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time

from muster.core import JSON, Extent


def plain(value: object) -> JSON:
    """The value as JSON: dates and exact decimals, which parquet has and JSON doesn't, as texts; bytes as null."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes | Extent):
        return None
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return value.isoformat() if isinstance(value, date | datetime | time) else str(value)
