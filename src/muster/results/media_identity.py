"""Which references to media mean the same image or video: those with the same content, however the data holds it.

A benchmark as parquet has its images' bytes, as CSV their paths; copies of an image have several names. What is
correlated must not depend on that. Only files of equal size can be equal, so only those are read.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from muster.core import Extent, Media

_READERS = 16
_MANY = 256

Value = TypeVar("Value")


def content_identities(media: Mapping[str, Media]) -> dict[str, str]:
    """For each of `media`, by its `identity`, a text that is the same for the same content.

    Media that aren't here (addresses, files that are gone, folders of frames) are known by their own names.
    """
    listed = list(media.values())
    sizes = _in_threads(_size, listed)
    counts = Counter(sizes)
    alike = [
        name
        for (name, each), size in zip(media.items(), sizes, strict=True)
        if size is not None and counts[size] > 1 and each.data is None
    ]
    contents = _in_threads(_content, [media[name] for name in alike])
    return {name: name for name in media} | dict(zip(alike, contents, strict=True))


def _in_threads(function: Callable[[Media], Value], media: Sequence[Media]) -> list[Value]:
    """`function` of each: in threads where there are many, since files may be far away."""
    if len(media) < _MANY:
        return [function(each) for each in media]
    share = -(-len(media) // _READERS)
    slices = [media[start : start + share] for start in range(0, len(media), share)]
    with ThreadPoolExecutor(_READERS) as readers:
        return [
            value
            for values in readers.map(lambda part: [function(each) for each in part], slices)
            for value in values
        ]


def _size(media: Media) -> int | None:
    """In bytes; None where there is no file to look at."""
    if media.data is not None:
        return len(media.data)
    if media.extent is not None:
        return media.extent.size
    return None if media.path is None else _file_size(media.path)


@lru_cache(maxsize=1 << 20)
def _file_size(path: str) -> int | None:
    try:
        file = Path(path)
        return file.stat().st_size if file.is_file() else None
    except (OSError, ValueError):
        return None


def _content(media: Media) -> str:
    return _stored(media.path, media.extent) or media.identity


@lru_cache(maxsize=1 << 20)
def _stored(path: str | None, extent: Extent | None) -> str | None:
    """The digest of a file, or of an extent of one; None where it can't be read."""
    try:
        if extent is not None:
            with Path(extent.path).open("rb") as file:
                file.seek(extent.offset)
                return _digest(file.read(extent.size))
        with Path(path or "").open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except (OSError, ValueError):
        return None


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
