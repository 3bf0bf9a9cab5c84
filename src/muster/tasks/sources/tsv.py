"""VLMEvalKit's TSV: a table whose images are base64 in its cells.

The format as VLMEvalKit reads it (vlmeval/dataset/image_base.py): `index` names a row; `image` is base64, a list of
base64 as Python prints it, or the index of another row that has the image; `image_path` are paths of images where
there is no `image`; `A`, `B` … are the options, `answer`, `hint`, `category`, `l2-category` and `split` what they say.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from muster.core import ConfigurationError
from muster.tasks.problems import shown
from muster.tasks.sources.absent import absent
from muster.tasks.sources.data_folders import BenchmarkFolder
from muster.tasks.sources.digests import content_digest
from muster.tasks.sources.field_rules import Columns
from muster.tasks.sources.list_text import looks_like_list, parse_list
from muster.tasks.sources.media_cells import decode_base64
from muster.tasks.sources.pack import packed_rows
from muster.tasks.sources.protocol import Located
from muster.tasks.sources.row import Row
from muster.tasks.sources.rows import read_tsv

LONGEST_INDEX = 64
"""Characters: a shorter `image` is the index of the row that has it."""
_FIELDS: Columns = {"id": "index"}


@dataclass(slots=True)
class TsvRows:
    """Implements `RowSource` for one TSV file."""

    folder: BenchmarkFolder
    file: str
    """Relative to the folder."""
    media: str | None = None
    """Where `image_path` is taken from, relative to the folder; by default the file's own folder."""
    description: str = field(init=False, compare=False)
    default_fields: Columns = field(default_factory=lambda: dict(_FIELDS), init=False)

    def __post_init__(self) -> None:
        self.description = f"{Path(self.file).name}, VLMEvalKit's format"

    def locate(self) -> Located:
        """See `RowSource`."""
        file = self.folder.find(self.file)
        media = file.parent if self.media is None else self.folder.find(self.media)
        return Located((file,), media, (self.folder.path,))

    def rows(self, located: Located, media: Collection[str]) -> Iterator[Row]:
        """See `RowSource`."""
        [file] = located.files
        rows = packed_rows([file], lambda: _decoded(file), {*media, "image"}, "vlmevalkit")
        first = next(rows, None)
        if first is None:
            return iter(())
        every = itertools.chain([first], rows)
        return _with_images(list(every)) if "image" in first.cells else map(_without_image, every)

    def digest(self, located: Located) -> str:
        """Of the file's content."""
        return content_digest(located.files)

    def wrong_checksums(self) -> list[str]:
        """See `RowSource`."""
        return self.folder.wrong_checksums()


def _decoded(file: Path) -> Iterator[Row]:
    """The rows with their images as bytes; what names another row's image stays a text."""
    for row in read_tsv(file):
        if row.number == 0 and not {"index", "question"} <= row.cells.keys():
            raise ConfigurationError(
                f"{file}: not a TSV of VLMEvalKit: its header has no `index` and `question` (it has: "
                f"{', '.join(map(shown, row.cells))}). A TSV of your own is given as `file:`"
            )
        image = row.cells.get("image", "")
        if absent(image):
            yield row
            continue
        try:
            yield replace(row, cells={**row.cells, "image": _images(str(image))})
        except ValueError as error:
            raise ConfigurationError(f"{row.place}: image: {error}") from error


def _images(cell: str) -> object:
    if len(cell) <= LONGEST_INDEX:
        return cell
    if looks_like_list(cell):
        return [decode_base64(str(item)) for item in parse_list(cell)]
    return decode_base64(cell.partition(",")[2] if cell.startswith("data:") else cell)


def _with_images(rows: list[Row]) -> Iterator[Row]:
    """The rows with references to other rows' images resolved, and `image_path` where there is no image."""
    held = {str(row.cells["index"]): row.cells["image"] for row in rows if _has_image(row)}
    references = {
        str(row.cells["index"]): str(row.cells.get("image", "")) for row in rows if not _has_image(row)
    }
    for row in rows:
        image = row.cells.get("image")
        if absent(image):
            yield _without_image(row)
            continue
        cells = dict(row.cells)
        if isinstance(image, str):
            cells["image"] = _referred(row, image, held, references)
        if isinstance(cells["image"], list) and len(cells["image"]) == 1:
            cells["image"] = cells["image"][0]
        cells.pop("image_path", None)
        yield replace(row, cells=cells)


def _without_image(row: Row) -> Row:
    """The row with the images that `image_path` names."""
    cells = {**row.cells, "image": _paths(row)}
    if isinstance(cells["image"], list) and len(cells["image"]) == 1:
        cells["image"] = cells["image"][0]
    cells.pop("image_path", None)
    return replace(row, cells=cells)


def _referred(row: Row, index: str, held: Mapping[str, object], references: Mapping[str, str]) -> object:
    """The image of the row `index`, or of the row that it refers to in turn."""
    passed: list[str] = []
    while index not in held:
        if index not in references or index in passed or not references[index]:
            raise ConfigurationError(
                f"{row.place}: image: {shown(index)} is neither base64 nor the index of a row that has an image"
                + (f" (by way of {' and '.join(passed)})" if passed else "")
            )
        passed.append(index)
        index = references[index]
    return held[index]


def _has_image(row: Row) -> bool:
    image = row.cells.get("image")
    return not absent(image) and not isinstance(image, str)


def _paths(row: Row) -> object:
    paths = row.cells.get("image_path")
    return parse_list(paths) if isinstance(paths, str) and looks_like_list(paths) else paths
