"""What the content of data files comes down to, so that a run notices when its data has changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from muster.core import ConfigurationError
from muster.core.cache_folder import cache_folder

REMEMBERED_ABOVE = 64 << 20
"""Bytes of a file from which on its digest is kept in the cache."""
_FOOTER = 1 << 20


def content_digest(files: Sequence[Path]) -> str:
    """Of the bytes of all files, in this order. Raises `ConfigurationError` where one can't be read."""
    try:
        return "-".join(_remembered(file) for file in files)
    except FileNotFoundError as error:
        raise ConfigurationError(f"No such data file: {error.filename}") from None
    except OSError as error:
        raise ConfigurationError(f"{error.filename}: can't be read: {error.strerror or error}") from error


def _remembered(file: Path) -> str:
    """The file's digest; of a large one, as it was found when the file last changed."""
    state = file.stat()
    if state.st_size < REMEMBERED_ABOVE:
        return _digest(file)
    name = hashlib.blake2b(f"{file} {state.st_size} {state.st_mtime_ns}".encode(), digest_size=16).hexdigest()
    memory = cache_folder() / "digests" / name
    with suppress(OSError):
        return memory.read_text(encoding="ascii")
    digest = _digest(file)
    with suppress(OSError):  # a cache that can't be written costs seconds, not the run
        memory.parent.mkdir(parents=True, exist_ok=True)
        temporary = memory.with_name(f".{name}.{os.getpid()}.tmp")
        temporary.write_text(digest, encoding="ascii")
        temporary.replace(memory)
    return digest


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def shard_digest(files: Sequence[Path]) -> str:
    """Of the files' names, sizes and last megabytes, in this order.

    A benchmark's shards are gigabytes of images; a parquet file's end lists the sizes and ranges of all that is
    in it. Raises `ConfigurationError` where one can't be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        try:
            size = file.stat().st_size
            with file.open("rb") as content:
                content.seek(max(0, size - _FOOTER))
                digest.update(f"{file.name} {size} ".encode() + content.read(_FOOTER))
        except OSError as error:
            raise ConfigurationError(f"{file}: can't be read: {error.strerror or error}") from error
    return digest.hexdigest()
