"""Large data files with images, converted once: light rows, and all images in one file for workers to read from.

Held as samples the images would fill the coordinator's memory and travel to every worker; read again at each start
they would cost minutes. So the first run on a node writes two files into the cache:
`rows.jsonl`, the rows with an offset and a size in place of each image, and `media.bin`, the images one after the
other, each once however many rows show it. They are named after the path, size and time of the original, so a changed
original gets new ones, and a run that still reads the old ones isn't disturbed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec

from muster.core import Extent, RunError
from muster.core.cache_folder import cache_folder
from muster.core.phases import counted, phase
from muster.tasks.sources.cache import locked
from muster.tasks.sources.json_cells import plain
from muster.tasks.sources.list_text import looks_like_list, parse_list
from muster.tasks.sources.media_cells import embedded, stored_content
from muster.tasks.sources.row import Row
from muster.tasks.yaml_lines import as_mapping

FORMAT = 1
PACK_ABOVE = 32 << 20
"""Bytes of data files from which on they are packed if there are images; smaller ones are quicker to read again."""
_EXTENT = frozenset({"offset", "size"})


class PackedRow(msgspec.Struct, array_like=True):
    """A line of `rows.jsonl`."""

    number: int
    place: str
    cells: dict[str, object]
    is_text: bool
    media: list[str]
    """The columns that hold extents."""


def packed_rows(
    files: Sequence[Path], read: Callable[[], Iterator[Row]], media: Collection[str], form: str
) -> Iterator[Row]:
    """The rows that `read` makes of `files`, their images as `Extent`s where the files are large.

    Columns in `media` may hold images: as bytes, as Hugging Face's `{bytes, path}`, as data URIs or base64, and
    lists of these. Bytes in other columns are dropped. `form` names what `read` does, for the pack's name.
    Raises what `read` raises, and `RunError` where the cache can't be written.
    """
    if sum(file.stat().st_size for file in files) < PACK_ABOVE:
        yield from read()
        return
    folder, columns, passed = cache_folder() / "packs" / _name(files, media, form), frozenset(media), 0
    if not folder.exists():
        for row in read():
            if _has_images(row, columns) or (not passed and _has_bytes(row)):
                break
            yield row
            passed += 1
        else:
            return
        with locked(folder, f"converts {files[0].name}"):
            if not folder.exists():
                with phase(f"converting {files[0].name}", "rows"):
                    _write(folder, counted(read()), columns)
    yield from islice(_read(folder), passed, None)


def _has_images(row: Row, media: frozenset[str]) -> bool:
    if not (shown := media.intersection(row.cells)):
        return False
    writer = _MediaWriter(BytesIO())
    for name in shown:
        writer.put_all(row.cells[name], row.is_text)
    return writer.written > 0


def _has_bytes(row: Row) -> bool:
    """Whether it has bytes in any column: images that nobody asks for, if there are some in the first row."""
    writer = _MediaWriter(BytesIO())
    writer.put_all([value for value in row.cells.values() if not isinstance(value, str)], is_text=False)
    return writer.written > 0


def _name(files: Sequence[Path], media: Collection[str], form: str) -> str:
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    digest = hashlib.blake2b(json.dumps([FORMAT, form, sorted(media), stats]).encode(), digest_size=10)
    return f"{files[0].stem[:40]}-{digest.hexdigest()}"


def _read(folder: Path) -> Iterator[Row]:
    media = str(folder / "media.bin")
    decode = msgspec.json.Decoder(PackedRow).decode
    with (folder / "rows.jsonl").open("rb") as lines:
        for line in lines:
            row = decode(line)
            for column in row.media:
                row.cells[column] = _with_extents(row.cells[column], media)
            yield Row(row.number, row.place, row.cells, row.is_text)


def _with_extents(value: object, path: str) -> object:
    if isinstance(value, list):
        return [_with_extents(item, path) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == _EXTENT:
        return Extent(path, value["offset"], value["size"])
    return {key: _with_extents(item, path) for key, item in value.items()}


def _write(folder: Path, rows: Iterator[Row], media: frozenset[str]) -> None:
    """Make the pack beside its place and move it there when it is whole."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed: we hold the lock
    try:
        temporary.mkdir()
        with (temporary / "media.bin").open("wb") as images, (temporary / "rows.jsonl").open("wb") as lines:
            writer = _MediaWriter(images)
            for row in rows:
                lines.write(msgspec.json.encode(_packed(row, media, writer)) + b"\n")
            for written in (images, lines):
                written.flush()
                os.fsync(written.fileno())
        temporary.replace(folder)
    except OSError as error:
        raise RunError(
            f"{temporary} can't be written ({error.strerror or error}); it takes about as much room as the benchmark's "
            "files. MUSTER_CACHE names another place for the cache"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _packed(row: Row, media: frozenset[str], writer: _MediaWriter) -> PackedRow:
    cells: dict[str, object] = {}
    found: list[str] = []
    for name, value in row.cells.items():
        if name in media:
            written = writer.written
            cells[name] = writer.put_all(value, row.is_text)
            if writer.written > written:
                found.append(name)
        else:
            cells[name] = plain(value)
    return PackedRow(row.number, row.place, cells, row.is_text, found)


@dataclass(slots=True)
class _MediaWriter:
    """Appends images, each content once."""

    stream: BinaryIO
    written: int = 0
    """Images put so far, repeated ones too."""
    _end: int = 0
    _known: dict[bytes, dict[str, int]] = field(default_factory=dict)

    def put_all(self, value: object, is_text: bool) -> object:
        """The value with extents in place of images."""
        if isinstance(value, bytes):
            return self._put(value) if value else None
        if isinstance(value, list | tuple):
            return [self.put_all(item, is_text) for item in value]
        if isinstance(value, str):
            return self._put_text(value, is_text)
        cell = as_mapping(value)
        if cell is None:
            return plain(value)
        if (content := stored_content(cell)) is not None:
            return self.put_all(content, is_text)
        return {key: self.put_all(item, is_text) for key, item in cell.items()}

    def _put_text(self, value: str, is_text: bool) -> object:
        if is_text and looks_like_list(value):
            try:
                return self.put_all(parse_list(value), is_text)
            except ValueError:
                return value  # told with its place when the row is read
        try:
            content = embedded(value)
        except ValueError:
            return value  # as above
        return value if content is None else self._put(content)

    def _put(self, content: bytes) -> dict[str, int]:
        self.written += 1
        digest = hashlib.blake2b(content, digest_size=16).digest()
        if digest not in self._known:
            self.stream.write(content)
            self._known[digest] = {"offset": self._end, "size": len(content)}
            self._end += len(content)
        return self._known[digest]
