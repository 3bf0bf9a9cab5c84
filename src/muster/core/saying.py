"""What is said on standard error: by whoever it was said first, nothing of it steers the terminal."""

from __future__ import annotations

import codecs
import io
import logging
import sys
from contextlib import suppress
from typing import BinaryIO

from muster.core.text import printable


def tell(line: str) -> None:
    """One line to standard error. Where that is impossible (its disk may be the full one) nothing happens."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{printable(line)}\n")
        sys.stderr.flush()


class Shown:
    """Somebody's output as it grows (a job's log), shown on `target`; a carriage return begins a new line.

    Bytes that aren't UTF-8 become U+FFFD; a character that is in two pieces stays whole.
    """

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._lines = io.IncrementalNewlineDecoder(characters, translate=True)

    def write(self, new: bytes) -> None:
        """Show what has come."""
        self._target.write(printable(self._lines.decode(new)).encode())
        self._target.flush()


def log_printably() -> None:
    """What is logged where nothing is configured goes to standard error, and may quote anybody."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Printable())


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))
