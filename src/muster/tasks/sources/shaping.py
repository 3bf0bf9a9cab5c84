"""Rows that belong together in several lists are joined, rows that hold several questions taken apart."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from muster.core import ConfigurationError
from muster.core.numbers import whole
from muster.core.text import did_you_mean
from muster.tasks.problems import shown
from muster.tasks.sources.absent import absent
from muster.tasks.sources.json_cells import plain
from muster.tasks.sources.protocol import RowSource
from muster.tasks.sources.row import Row


@dataclass(frozen=True, slots=True)
class Join:
    """Rows of another list that belong to each row: VQA's annotations, COCO's images, a caption file's captions."""

    origin: RowSource
    """Where the other list is."""
    own_key: str
    """The column of the rows."""
    key: str
    """The column of the other list's rows that is equal to it."""
    name: str
    """The column that the joined row becomes, as an object; with `many`, a list of objects."""
    many: bool = False
    optional: bool = False
    """Whether a row without a partner is kept, without the column."""
    records: str | None = None
    """The list of a JSON document, where it is one."""
    apart: bool = False
    """Whether its files aren't among those of the rows."""


def joined(rows: Iterator[Row], join: Join, media: Collection[str]) -> Iterator[Row]:
    """The rows with their partners; an image of a partner is shared by all its rows.

    `media`: the columns that hold images, those of a partner as `name.column`.

    Raises:
        ConfigurationError: a row has no partner, a partner's key is there twice, or a key column is missing.
    """
    label = f"source.join ({join.name})"
    inside = {column.removeprefix(f"{join.name}.") for column in media if column.startswith(f"{join.name}.")}
    partners = _partners(join, inside, label)
    for row in rows:
        if join.own_key not in row.cells:
            raise ConfigurationError(
                f"{row.place}: {label}: no column {join.own_key!r}{did_you_mean(join.own_key, row.cells)}"
            )
        if join.name in row.cells and join.name != join.own_key:
            raise ConfigurationError(
                f"{row.place}: {label}: there is a column {join.name!r} already; name it otherwise"
            )
        found = partners.get(_key(row.cells[join.own_key]), [])
        if not found and not join.optional:
            key = shown(row.cells[join.own_key])
            where = join.origin.description
            raise ConfigurationError(f"{row.place}: {label}: nothing in {where} has {join.key} {key}")
        value: object = [each.cells() for each in found]
        if not join.many:
            value = found[0].cells() if found else None
        yield replace(row, cells={**row.cells, join.name: value})


class _Partner(NamedTuple):
    """A row of the other list."""

    encoded: bytes
    """Because a million small objects take ten times the room."""
    media: Mapping[str, object]
    """Its images, as they are."""

    def cells(self) -> dict[str, object]:
        return {**msgspec.json.decode(self.encoded), **self.media}


def _partners(join: Join, media: Collection[str], label: str) -> dict[str, list[_Partner]]:
    partners: dict[str, list[_Partner]] = {}
    for row in join.origin.rows(join.origin.locate(), media):
        if join.key not in row.cells:
            raise ConfigurationError(
                f"{row.place}: {label}: no field {join.key!r}{did_you_mean(join.key, row.cells)}"
            )
        same = partners.setdefault(_key(row.cells[join.key]), [])
        if same and not join.many:
            raise ConfigurationError(
                f"{row.place}: {label}: {join.key} {shown(row.cells[join.key])} is there twice; "
                "say `many: true` where several belong to a row"
            )
        images = {name: value for name, value in row.cells.items() if name in media}
        others = {name: value for name, value in row.cells.items() if name not in media}
        same.append(_Partner(msgspec.json.encode(plain(others)), images))
    return partners


def _key(value: object) -> str:
    """So that the 42 of a JSON file meets the "42" of a CSV."""
    return value if isinstance(value, str) else msgspec.json.encode(plain(whole(value))).decode()


def exploded(rows: Iterator[Row], columns: Sequence[str]) -> Iterator[Row]:
    """One row per item of the lists in `columns`, which are taken in step; an item takes its list's place.

    Raises:
        ConfigurationError: a column isn't there or is no list, or the lists are of unequal length.
    """
    for row in rows:
        lists = [_list(row, column) for column in columns]
        if len({len(each) for each in lists}) > 1:
            sizes = ", ".join(f"{name}: {len(each)}" for name, each in zip(columns, lists, strict=True))
            raise ConfigurationError(f"{row.place}: source.explode: lists of unequal length ({sizes})")
        for part, items in enumerate(zip(*lists, strict=True)):
            cells: Mapping[str, object] = {**row.cells, **dict(zip(columns, items, strict=True))}
            yield replace(row, cells=cells, part=part, place=f"{row.place}, item {part}")


def _list(row: Row, column: str) -> list[object]:
    if column not in row.cells:
        raise ConfigurationError(
            f"{row.place}: source.explode: no column {column!r}{did_you_mean(column, row.cells)}"
        )
    value = row.cells[column]
    if absent(value):
        return []
    if not isinstance(value, list):
        raise ConfigurationError(f"{row.place}: source.explode: {column} is {shown(value)}, not a list")
    return value
