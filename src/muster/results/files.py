"""Files that are either the old ones or the new ones, never half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from muster.core import RunError
from muster.core.text import valid_text


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; on a normal exit it is synced and takes `path`'s place.

    When the block raises, the temporary file is removed and `path` stays as it was. An `OSError` (disk full,
    no permission) becomes a `RunError`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror or error}. Its previous content, if any, is unchanged; "
            f"the journal of the run is not affected. Make room or give permission and run the command again."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make a rename or a new file in `directory` durable, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_json(path: Path, value: object) -> None:
    """Write `value` (dataclasses, builtins) as indented JSON, atomically. NaN and infinities become null."""
    content = msgspec.json.format(encode_json(value), indent=2) + b"\n"
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def encode_json(value: object) -> bytes:
    """JSON without spaces. Lone surrogates, which UTF-8 can't hold, become U+FFFD; NaN becomes null."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_without_surrogates(msgspec.to_builtins(value)))


def _without_surrogates(value: object) -> object:
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(item) for item in value]
    return value
