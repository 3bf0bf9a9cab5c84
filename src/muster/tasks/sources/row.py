"""One record of a data file, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Row(msgspec.Struct, frozen=True, gc=False):
    """One record of a data file."""

    number: int
    """From 0."""
    place: str
    """Where it stands, for messages: `my.jsonl:7`, `my.parquet: row 6 (from 0)`."""
    cells: Mapping[str, object]
    """The record's fields by name."""
    is_text: bool = False
    """Whether every cell is a text, as in CSV: lists and objects then stand in it as JSON."""
    part: int | None = None
    """From 0, where a record makes several rows (`source.explode`)."""
