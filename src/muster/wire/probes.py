"""Whether two processes see the same files: found out by trying, right for shared disks and copies alike."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

import msgspec

from muster.core import SampleError
from muster.media.gate import checked_path, open_checked

_COMPARED_BYTES = 1 << 12


class Probe(msgspec.Struct, frozen=True):
    """A file of the plan as the coordinator sees it."""

    path: str
    digest: str


def sees(expected: Iterable[Probe], within: tuple[str, ...] | None = None) -> bool:
    """Whether all these files are here too, with the same content, and may be opened (`within`: as `Media` has it)."""
    return all(digest_of(probe.path, within) == probe.digest for probe in expected)


def digest_of(path: str, within: tuple[str, ...] | None = None) -> str:
    """Of its size, beginning and end, or of the names in a folder; an empty string where there is no such file."""
    try:
        if checked_path(path, within, folder=True).is_dir():
            names = "\0".join(sorted(os.listdir(path)))  # noqa: PTH208 - names alone, of thousands of frames
            return hashlib.blake2b(names.encode(errors="surrogateescape"), digest_size=16).hexdigest()
        with open_checked(path, within) as stream:
            size = os.fstat(stream.fileno()).st_size
            content = stream.read(_COMPARED_BYTES)
            if size > _COMPARED_BYTES:
                stream.seek(max(_COMPARED_BYTES, size - _COMPARED_BYTES))
                content += stream.read(_COMPARED_BYTES)
    except (OSError, SampleError):
        return ""
    return hashlib.blake2b(b"%d:" % size + content, digest_size=16).hexdigest()
