"""Data files by their ending: the native sample format, and other people's JSON, JSONL, CSV, TSV, parquet and Arrow."""

from __future__ import annotations

import os.path
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from muster.core import JSON, ConfigurationError
from muster.tasks.sources.data_folders import BenchmarkFolder
from muster.tasks.sources.digests import content_digest
from muster.tasks.sources.field_rules import Columns
from muster.tasks.sources.mapped import MappedSource
from muster.tasks.sources.pack import packed_rows
from muster.tasks.sources.protocol import Located
from muster.tasks.sources.row import Row
from muster.tasks.sources.rows import read_rows
from muster.tasks.sources.shards import data_files


@dataclass(slots=True)
class FileRows:
    """Implements `RowSource` for a file, or several that follow each other."""

    folder: BenchmarkFolder
    files: tuple[str, ...]
    """Relative to the folder: files, folders of shards and patterns (`part-*.jsonl`)."""
    records: str | None = None
    """Which list of a JSON document holds the rows."""
    media: str | None = None
    """Where the paths of images are taken from, relative to the folder; by default the first file's own folder."""
    others: tuple[str, ...] = ()
    """Further files of the folder that the rows are made of: those that are joined."""
    description: str = field(init=False, compare=False)
    default_fields: Columns = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        name = ", ".join(Path(file).name for file in self.files)
        self.description = f"{name}, list {self.records}" if self.records else name

    def locate(self) -> Located:
        """See `RowSource`."""
        files = [file for name in self.files for file in data_files(self.folder, name)]
        others = [self.folder.find(name) for name in self.others]
        media = files[0].parent if self.media is None else self.folder.find(self.media)
        return Located((*files, *others), media, (self.folder.path,))

    def rows(self, located: Located, media: Collection[str]) -> Iterator[Row]:
        """See `RowSource`."""
        files = located.files[: len(located.files) - len(self.others)]
        try:
            yield from packed_rows(files, partial(self._read, files), media, f"native {self.records}")
        except FileNotFoundError as error:
            raise ConfigurationError(f"No such data file: {error.filename}") from None

    def _read(self, files: Sequence[Path]) -> Iterator[Row]:
        if len(files) == 1:
            yield from read_rows(files[0], self.records)
            return
        rows = (row for file in files for row in read_rows(file, self.records))
        for number, row in enumerate(rows):
            yield replace(row, number=number)

    def digest(self, located: Located) -> str:
        """Of the files' content."""
        return content_digest(located.files)

    def wrong_checksums(self) -> list[str]:
        """See `RowSource`."""
        return self.folder.wrong_checksums()


class NativeSource(MappedSource):
    """A data file and the rules for its rows, for tasks that Python builds."""

    def __init__(
        self,
        file: Path,
        where: Mapping[str, JSON] | None = None,
        fields: Columns | None = None,
        allow_urls: bool = False,
    ) -> None:
        """`file` is told apart by its name. `where`, `fields` and `allow_urls`: as in a task file."""
        # A run may change the working directory between here and `load`.
        path = Path(os.path.abspath(file))  # noqa: PTH100 - resolve() would follow links
        rows = FileRows(BenchmarkFolder(path.parent), (path.name,))
        super().__init__(rows, where or {}, fields or {}, allow_urls)
