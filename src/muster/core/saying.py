"""What is said on standard error: by whoever it was said first, nothing of it steers the terminal."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

from muster.core.text import printable


def tell(line: str) -> None:
    """One line to standard error. Where that is impossible (its disk may be the full one) nothing happens."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{printable(line)}\n")
        sys.stderr.flush()


def log_printably() -> None:
    """What is logged where nothing is configured goes to standard error, and may quote anybody."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Printable())


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))
