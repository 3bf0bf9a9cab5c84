"""Text files of data, compressed by gzip or not."""

from __future__ import annotations

import gzip
from pathlib import Path, PurePath
from typing import BinaryIO, TextIO, cast

GZIP = ".gz"


def ending(name: str) -> str:
    """The ending that says a file's format, in small letters: `.jsonl` of `a.jsonl` and of `a.jsonl.gz`."""
    path = PurePath(name.lower())
    return PurePath(path.stem).suffix if path.suffix == GZIP else path.suffix


def open_bytes(file: Path) -> BinaryIO:
    """The file for reading, unpacked on the way where its name ends in `.gz`."""
    if file.suffix.lower() == GZIP:
        return cast("BinaryIO", gzip.open(file, "rb"))
    return file.open("rb")


def open_text(file: Path) -> TextIO:
    """The same as UTF-8 text, line ends as they are."""
    if file.suffix.lower() == GZIP:
        return cast("TextIO", gzip.open(file, "rt", encoding="utf-8-sig", newline=""))
    return file.open(encoding="utf-8-sig", newline="")
