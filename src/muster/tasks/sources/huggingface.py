"""Datasets of the Hugging Face hub, read from their own files: nothing of theirs is run, images stay bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from muster.core import ConfigurationError
from muster.tasks.sources.digests import shard_digest
from muster.tasks.sources.field_rules import Columns
from muster.tasks.sources.hub_files import HubDataset, Snapshot
from muster.tasks.sources.hub_layout import SplitFiles, choose_files
from muster.tasks.sources.pack import packed_rows
from muster.tasks.sources.protocol import Located
from muster.tasks.sources.row import Row
from muster.tasks.sources.rows import read_rows


@dataclass(slots=True)
class HubRows:
    """Implements `RowSource` for splits of a dataset, which follow each other as they are named.

    Rows get the columns `config` and `split` where several are read and the data has none of its own.
    """

    repository: HubDataset
    configs: tuple[str, ...] = ()
    """None at all: the default configuration."""
    splits: tuple[str, ...] = ("test",)
    media: str | None = None
    """Where the paths of images are taken from, relative to the repository's folder."""
    description: str = field(init=False, compare=False)
    default_fields: Columns = field(default_factory=dict, init=False)
    _found: Snapshot | None = field(default=None, init=False, compare=False)

    def __post_init__(self) -> None:
        configs = f", configuration {'+'.join(self.configs)}" if self.configs else ""
        revision = self.repository.revision
        splits = "+".join(self.splits)
        self.description = (
            f"Hugging Face {self.repository.dataset}{configs}, split {splits}, revision {revision}"
        )

    def locate(self) -> Located:
        """See `RowSource`."""
        folder, splits = self._snapshot()
        files = tuple(folder / name for each in splits for name in each.files)
        return Located(files, folder / (self.media or ""), (_repository(folder),))

    def rows(self, located: Located, media: Collection[str]) -> Iterator[Row]:
        """See `RowSource`."""
        columns = [
            *(["config"] if len(self.configs) > 1 else []),
            *(["split"] if len(self.splits) > 1 else []),
        ]
        form = f"hub {self.configs} {self.splits}"
        return packed_rows(located.files, partial(self._read, columns), media, form)

    def digest(self, located: Located) -> str:
        """Of the revision and the shards, the same for the hub's cache and a copy elsewhere."""
        return f"{self.repository.revision} {shard_digest(located.files)}"

    def wrong_checksums(self) -> list[str]:
        """None: the hub's client checks what it fetches."""
        return []

    def _snapshot(self) -> Snapshot:
        if self._found is None:  # the hub is asked once, for the samples and the revision
            self._found = self.repository.snapshot(self._choose)
        return self._found

    def _choose(self, files: Sequence[str], card: str) -> list[SplitFiles]:
        configs: Sequence[str | None] = self.configs or (None,)
        name = self.repository.dataset
        return [choose_files(files, card, config, split, name) for config in configs for split in self.splits]

    def _read(self, columns: Sequence[str]) -> Iterator[Row]:
        folder, splits = self._snapshot()
        number = 0
        for each in splits:
            added = {"config": each.config, "split": each.split}
            for name in each.files:
                for row in _rows_of(folder / name):
                    cells = {**{column: added[column] for column in columns}, **row.cells}
                    yield replace(row, number=number, cells=cells)
                    number += 1


def _repository(folder: Path) -> Path:
    """The folder that all files of a snapshot are in: in the hub's cache its names are links to `blobs`."""
    return folder.parent.parent if folder.parent.name == "snapshots" else folder


def _rows_of(file: Path) -> Iterator[Row]:
    try:
        yield from read_rows(file)
    except ConfigurationError as error:
        if (
            file.is_file()
            and file.stat().st_size < 1024
            and file.read_bytes().startswith(b"version https://git-lfs")
        ):
            raise ConfigurationError(
                f"{file} is only a pointer to the file: the repository was cloned without git LFS"
            ) from error
        raise
