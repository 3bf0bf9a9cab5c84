"""A row of a data file as a sample: the native sample format, field by field."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from string import ascii_uppercase
from typing import TypeAlias

import msgspec

from muster.core import JSON, Media, MediaKind, Sample
from muster.tasks.problems import shown
from muster.tasks.sources.media_cells import read_media
from muster.tasks.sources.rows import Row
from muster.tasks.yaml_lines import as_mapping

NATIVE_FIELDS = (
    "id",
    "question",
    "images",
    "image",
    "videos",
    "video",
    "choices",
    "answer",
    "answers",
    "metadata",
)
Columns: TypeAlias = "Mapping[str, str | Sequence[str]]"
"""Native field to the file's own column, or to several columns that make up a list."""


class FieldProblem(Exception):  # noqa: N818 - it is reported, with others, as a ConfigurationError
    """What is wrong with one field of a row."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")


@dataclass(frozen=True, slots=True)
class RowReader:
    """Reads rows whose columns are named as `columns` says, media paths relative to `folder`."""

    folder: Path
    columns: Columns
    allow_urls: bool = False

    def sample(self, row: Row, metadata: Mapping[str, JSON]) -> Sample:
        """The row as a sample with its `metadata`. Raises `FieldProblem` at the first field that is wrong."""
        choices = self._choices(row)
        return Sample(
            id=self._id(row),
            question=self._question(row),
            images=self._media(row, "image"),
            videos=self._media(row, "video"),
            choices=choices,
            answers=self._answers(row, choices),
            metadata=metadata,
        )

    def metadata(self, row: Row) -> dict[str, JSON]:
        """The `metadata` object and every column that isn't a field of the format; absent values left out."""
        name = self.name("metadata")
        given = _decoded(row.cells.get(name)) if not _absent(row.cells.get(name)) else {}
        explicit = as_mapping(given)
        if explicit is None:
            raise FieldProblem(name, f"{shown(given)} is not an object with text keys")
        used = self._used(row)
        columns = {key: value for key, value in row.cells.items() if key not in used}
        merged = {**columns, **explicit}
        # Bytes (an image column that the task doesn't use) can't be reported as JSON, so they aren't metadata.
        return {
            key: _json(value) for key, value in merged.items() if not _absent(value) and not _has_bytes(value)
        }

    def name(self, native: str) -> str:
        """The column of a native field, for messages and look-ups of one column."""
        column = self.columns.get(native, native)
        return column if isinstance(column, str) else ", ".join(column)

    def _get(self, row: Row, native: str) -> object:
        """The field's value; of several columns, the list of their values."""
        column = self.columns.get(native, native)
        if isinstance(column, str):
            value = row.cells.get(column)
            return None if _absent(value) else value
        values = [row.cells.get(each) for each in column]
        while values and _absent(values[-1]):
            values.pop()
        return values or None

    def _used(self, row: Row) -> set[str]:
        used: set[str] = set()
        for native in NATIVE_FIELDS:
            column = self.columns.get(native, native)
            used.update([column] if isinstance(column, str) else column)
        if self._get(row, "choices") is None:
            used.update(_letter_columns(row))
        return used

    def _id(self, row: Row) -> str:
        value = self._get(row, "id")
        if value is None:
            return str(row.number)
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return str(value)
        raise FieldProblem(self.name("id"), f"{shown(value)} is neither a text nor a whole number")

    def _question(self, row: Row) -> str:
        name, value = self.name("question"), self._get(row, "question")
        if value is None:
            raise FieldProblem(name, "missing")
        if not isinstance(value, str):
            raise FieldProblem(name, f"{shown(value)} is not a text")
        if not value.strip():
            raise FieldProblem(name, "empty")
        return value

    def _choices(self, row: Row) -> tuple[str, ...]:
        name, value = self.name("choices"), _decoded(self._get(row, "choices"))
        if value is None:
            letters = _letter_columns(row)
            name, value = ", ".join(letters), [row.cells[letter] for letter in letters]
            while value and _absent(value[-1]):
                value.pop()
        if not isinstance(value, list):
            raise FieldProblem(name, f"{shown(value)} is not a list")
        for letter, item in zip(ascii_uppercase, value, strict=False):
            if _absent(item):
                raise FieldProblem(name, f"choice {letter} is empty, and without it the letters would shift")
        if len(value) > len(ascii_uppercase):
            raise FieldProblem(
                name, f"{len(value)} choices, but only {len(ascii_uppercase)} letters to name them"
            )
        return tuple(_text(name, item) for item in value)

    def _answers(self, row: Row, choices: Sequence[str]) -> tuple[str, ...]:
        one, many = self._get(row, "answer"), self._get(row, "answers")
        if one is not None and many is not None:
            raise FieldProblem(self.name("answer"), f"given beside {self.name('answers')}; leave one out")
        name, value = (self.name("answers"), many) if one is None else (self.name("answer"), one)
        if row.is_text and isinstance(value, str) and value.startswith("["):
            value = _decoded(value)
        values = [] if value is None else value if isinstance(value, list) else [value]
        answers = tuple(_text(name, item) for item in values)
        letters = ascii_uppercase[: len(choices)]
        for answer in answers if choices else ():
            if len(answer) != 1 or answer not in letters:
                hint = " (give the letter, not the choice's text)" if answer in choices else ""
                raise FieldProblem(
                    name, f"{shown(answer)} is not one of the letters A to {letters[-1]}{hint}"
                )
        return answers

    def _media(self, row: Row, kind: MediaKind) -> tuple[Media, ...]:
        one, many = self._get(row, kind), self._get(row, f"{kind}s")
        if one is not None and many is not None:
            raise FieldProblem(self.name(kind), f"given beside {self.name(f'{kind}s')}; leave one out")
        name, value = (self.name(f"{kind}s"), many) if one is None else (self.name(kind), one)
        if row.is_text and isinstance(value, str) and value.startswith("["):
            value = _decoded(value)
        values = [] if value is None else value if isinstance(value, list) else [value]
        try:
            return tuple(read_media(kind, item, self.folder, self.allow_urls) for item in values)
        except ValueError as error:
            raise FieldProblem(name, str(error)) from error


def _letter_columns(row: Row) -> list[str]:
    """`A`, `B`, `C` … as far as the row has them in a run; at least two, else none."""
    run: list[str] = []
    for letter in ascii_uppercase:
        if letter not in row.cells:
            break
        run.append(letter)
    return run if len(run) > 1 else []


def _absent(value: object) -> bool:
    """Whether a cell says nothing: null, an empty text, or the NaN that data frames put for null."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _decoded(value: object) -> object:
    """What a text that looks like a JSON list or object says; every other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError:
            return value
    return value


def _text(name: str, value: object) -> str:
    """A choice or an answer: texts as they are, numbers as they print."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and not _absent(value):
        return str(value)
    if isinstance(value, bool):
        raise FieldProblem(name, f"{'true' if value else 'false'} is not a text; put it in quotes")
    raise FieldProblem(name, f"{shown(value)} is neither a text nor a number")


def _json(value: object) -> JSON:
    """Metadata as JSON; dates and exact decimals, which parquet has and JSON doesn't, as texts."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    return value.isoformat() if isinstance(value, date | datetime | time) else str(value)


def _has_bytes(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(_has_bytes(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_has_bytes(item) for item in value)
    return isinstance(value, bytes)
