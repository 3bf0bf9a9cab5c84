"""Reports that were made, kept on the disk while the server runs; one is sent while it is being made."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 1 << 30
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class _Kept:
    stamp: Hashable
    file: Path
    size: int


class PageCache:
    """Pages by what they show. May be used by several threads; two pages at most are made at a time."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        """Keep them in `folder`, which is removed by whoever made it."""
        self._folder = folder
        self._most = most_bytes
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()
        self._makers = threading.Semaphore(2)

    def page(self, key: Hashable, stamp: Hashable, make: Callable[[], Iterable[str]]) -> Iterable[bytes]:
        """The page's pieces: the kept one where its `stamp` is the same, else a new one, kept when it is whole.

        What `make` raises is raised here, before the first piece.
        """
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept.stamp == stamp:
                self._kept.move_to_end(key)
                with suppress(OSError):
                    return _pieces(kept.file.open("rb"))  # stays readable when it is thrown out
        with self._makers:
            pieces = make()
        return self._sent_and_kept(key, stamp, pieces)

    def _sent_and_kept(self, key: Hashable, stamp: Hashable, pieces: Iterable[str]) -> Iterator[bytes]:
        with self._lock:
            self._count += 1
            file = self._folder / f"{self._count}.html"
        size = 0
        try:
            with self._makers, file.open("wb") as kept:
                for piece in pieces:
                    encoded = piece.encode()
                    kept.write(encoded)
                    size += len(encoded)
                    yield encoded
        except BaseException:  # also where the browser went away, and nobody wants the rest
            file.unlink(missing_ok=True)
            raise
        self._keep(key, _Kept(stamp, file, size))

    def _keep(self, key: Hashable, made: _Kept) -> None:
        with self._lock:
            thrown = [old] if (old := self._kept.pop(key, None)) is not None else []
            self._kept[key] = made
            while sum(each.size for each in self._kept.values()) > self._most and len(self._kept) > 1:
                thrown.append(self._kept.popitem(last=False)[1])
        for each in thrown:
            each.file.unlink(missing_ok=True)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE):
            yield piece
