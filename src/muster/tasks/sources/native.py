"""Samples from a file in the native sample format (docs/tasks.md, "The native sample format")."""

from __future__ import annotations

import hashlib
import json
import os.path
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from muster.core import JSON, ConfigurationError, Sample
from muster.tasks.problems import did_you_mean, raise_problems
from muster.tasks.sources.row_reader import Columns, FieldProblem, RowReader
from muster.tasks.sources.rows import Row, read_rows


@dataclass(slots=True)
class NativeSource:
    """A JSONL, JSON, CSV, TSV or parquet file, told apart by its name."""

    file: Path
    where: Mapping[str, JSON] = field(default_factory=dict)
    """Keep the rows whose column or metadata of this name has this value, or one of a list of values."""
    fields: Columns = field(default_factory=dict)
    """Native field to the file's own column (or columns, for a list)."""
    allow_urls: bool = False
    """Whether images and videos may be http addresses."""
    description: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        # A run may change the working directory between here and `load`.
        self.file = Path(os.path.abspath(self.file))  # noqa: PTH100 - resolve() would follow links
        conditions = ", ".join(f"{key}={'|'.join(_options(wanted))}" for key, wanted in self.where.items())
        self.description = f"{self.file.name} ({conditions})" if conditions else self.file.name

    def load(self) -> list[Sample]:
        """The file's samples in its order. Media files are neither opened nor looked for.

        Raises:
            ConfigurationError: the file isn't there or isn't what its name says; or rows are wrong, with the line
                (or row) and field of each in one message.
        """
        reader = RowReader(self.file.parent, self.fields, self.allow_urls)
        unseen = _Unseen(self.where, self.fields)
        samples: list[Sample] = []
        problems: list[str] = []
        places: dict[str, str] = {}
        for row in read_rows(self.file):
            try:
                metadata = reader.metadata(row)
                unseen.look(row, metadata)
                if not self._kept(row, metadata):
                    continue
                sample = reader.sample(row, metadata)
                if sample.id in places:
                    message = f"{sample.id!r} is already the id of {places[sample.id]}; ids must be unique"
                    raise FieldProblem(reader.name("id"), message)
            except FieldProblem as problem:
                problems.append(f"{row.place}: {problem}")
                continue
            places[sample.id] = row.place
            samples.append(sample)
        unseen.check(self.file)
        raise_problems(problems)
        return samples

    def revision(self) -> str:
        """A digest of the file's content, `where` and `fields`.

        Of image and video files beside it only the names count, since the file holds them: replacing an image
        under the same name doesn't change the revision.
        """
        digest = hashlib.blake2b(digest_size=16)
        rules = ["native-1", dict(self.where), {key: _listed(value) for key, value in self.fields.items()}]
        digest.update(json.dumps(rules, sort_keys=True).encode())
        try:
            with self.file.open("rb") as content:
                while block := content.read(1 << 20):
                    digest.update(block)
        except FileNotFoundError:
            raise ConfigurationError(f"No such data file: {self.file}") from None
        except OSError as error:
            raise ConfigurationError(f"{self.file}: can't be read: {error.strerror or error}") from error
        return digest.hexdigest()

    def _kept(self, row: Row, metadata: Mapping[str, JSON]) -> bool:
        for key, wanted in self.where.items():
            value = metadata.get(key, row.cells.get(key))
            if _plain(value) not in _options(wanted):
                return False
        return True


class _Unseen:
    """Names in `where` and `fields` that no row had: misspelt, or the wrong file."""

    def __init__(self, where: Mapping[str, JSON], fields: Columns) -> None:
        self._columns = {
            (f"source.fields.{native}", name) for native, each in fields.items() for name in _listed(each)
        }
        self._conditions = {(f"source.where.{key}", key) for key in where}
        self._known: dict[str, None] = {}

    def look(self, row: Row, metadata: Mapping[str, JSON]) -> None:
        """Strike off what this row has."""
        if not self._columns and not self._conditions:
            return
        self._known.update(dict.fromkeys((*row.cells, *metadata)))
        self._columns = {(label, name) for label, name in self._columns if name not in row.cells}
        present = row.cells.keys() | metadata.keys()
        self._conditions = {(label, name) for label, name in self._conditions if name not in present}

    def check(self, file: Path) -> None:
        """Raise `ConfigurationError` for the names that are left; a file without rows has nothing to say."""
        if self._known:
            have = f"(there are: {', '.join(self._known)})"
            left = sorted(self._columns | self._conditions)
            raise_problems(
                [
                    f"{file}: {label}: no row has {name!r}{did_you_mean(name, self._known)} {have}"
                    for label, name in left
                ]
            )


def _plain(value: object) -> str:
    """A value as text, so that `where: {level: 2}` finds the 2 of a CSV file too."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _options(wanted: JSON) -> list[str]:
    return [_plain(each) for each in (wanted if isinstance(wanted, list) else [wanted])]


def _listed(column: str | Iterable[str]) -> list[str]:
    return [column] if isinstance(column, str) else list(column)
