"""Where things are on the server. Runs are named in the query only: no path of an address is a path of a file."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlencode


def address(page: str, runs: Iterable[str] = (), **fields: str) -> str:
    """`/compare?run=a&run=b`; fields without a value are left out."""
    pairs = [("run", run) for run in runs] + [(name, value) for name, value in fields.items() if value]
    return f"/{page}?{urlencode(pairs)}" if pairs else f"/{page}"
