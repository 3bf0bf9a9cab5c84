"""Where rows come from: the one contract of files, TSVs, hub datasets and image folders."""

from __future__ import annotations

import os.path
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

from muster.tasks.sources.field_rules import Columns
from muster.tasks.sources.row import Row

Kind = Literal["file", "tsv", "huggingface", "folder"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The keys of a task file's `source:` that say which kind of data it is."""


@dataclass(frozen=True, slots=True)
class Located:
    """Rows whose files are here, downloaded if need be."""

    files: tuple[Path, ...]
    """What `revision` covers, in the order of the rows."""
    folder: Path
    """Where the paths of images and videos are taken from."""
    beside: tuple[Path, ...] = ()
    """Folders that they may lead into, beside that one."""

    @property
    def within(self) -> tuple[str, ...]:
        """All folders that they may lead into, absolute."""
        folders = (self.folder, *self.beside)
        return tuple(dict.fromkeys(os.path.abspath(folder) for folder in folders))  # noqa: PTH100


class RowSource(Protocol):
    """Reads one kind of data. What its rows mean is not its business: see `MappedSource`."""

    description: str
    """One line for `muster tasks NAME`."""
    default_fields: Columns
    """Rules for what this kind of data calls by names of its own; a task's own rules go before them."""

    def locate(self) -> Located:
        """Find the files, or fetch them. Raises `ConfigurationError` that says what to place where."""
        ...

    def rows(self, located: Located, media: Collection[str]) -> Iterator[Row]:
        """The rows in their order, images in the columns `media` as bytes, extents, texts or lists of these.

        Raises:
            ConfigurationError: a file isn't what it should be; names file and line or row.
        """
        ...

    def digest(self, located: Located) -> str:
        """Changes whenever the data does. May be told from a commit or from what files say of themselves."""
        ...

    def wrong_checksums(self) -> list[str]:
        """Files that are here and not what the task file says, as sentences."""
        ...
