"""Rows of CSV and TSV files, as data frames write and read them."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from muster.core import ConfigurationError
from muster.tasks.sources.row import Row
from muster.tasks.sources.text_files import open_text

_LARGEST_CELL = 2**31 - 1
"""Cells hold whole images as data URIs; the csv module's own limit is 128 KiB."""
_END = "\x1cthe end of the file"
"""A line after the last one: where it is in the last cell, that cell's quote was never closed."""
_FLOAT = re.compile(r"-?\d+\.0")


def read_delimited(file: Path, delimiter: str) -> Iterator[Row]:
    """The rows of a CSV or TSV file, whatever its name is.

    As in pandas, what follows a closing quote belongs to the cell (`"Stop" sign` is `Stop sign`). A column of whole
    numbers that a data frame made floats of, because cells are empty, has whole numbers again.

    Raises:
        ConfigurationError: rows of unequal length, columns of the same name, a quote that isn't closed.
    """
    csv.field_size_limit(_LARGEST_CELL)
    floats = _float_columns(file, delimiter)
    with open_text(file) as lines:
        records = _Records(lines, delimiter)
        header = next(records)
        if header == [_END]:
            return
        if len(set(header)) < len(header):
            twice = sorted({name for name in header if header.count(name) > 1})
            raise ConfigurationError(f"{file}:1: two columns are named {', '.join(map(repr, twice))}")
        number, name, start = 0, str(file), records.lines + 1
        for record in records:
            place, start = f"{name}:{start}", records.lines + 1
            if record == [_END]:
                return
            if record and record[-1].endswith(_END):
                raise ConfigurationError(
                    f"{place}: unexpected end of data: a quote that was opened is never closed; double a quote that "
                    "belongs to the text"
                )
            if not record:
                continue
            if len(record) != len(header):
                raise ConfigurationError(
                    f"{place}: {len(record)} cells where the header has {len(header)}; "
                    "a cell that holds the delimiter or a line break needs double quotes"
                )
            for column in floats:
                record[column] = record[column].removesuffix(".0")
            yield Row(number, place, dict(zip(header, record, strict=True)), is_text=True)
            number += 1


class _Records:
    """The records of a file, and `[_END]` after them: as the csv module reads them, those without quotes faster."""

    def __init__(self, lines: Iterable[str], delimiter: str) -> None:
        self.lines = 0
        """Read so far."""
        self._lines = itertools.chain(lines, [_END])
        self._delimiter = delimiter

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        line = next(self._lines)
        self.lines += 1
        if '"' not in line:
            text = line.rstrip("\r\n")
            return text.split(self._delimiter) if text else []
        reader = csv.reader(itertools.chain([line], self._lines), delimiter=self._delimiter)
        record = next(reader)
        self.lines += reader.line_num - 1
        return record


def _float_columns(file: Path, delimiter: str) -> Sequence[int]:
    """The columns that hold `3.0` in every cell but empty ones, of which there are some: a data frame's whole numbers.

    Usually the first rows tell that there are none.
    """
    with open_text(file) as lines:
        records = csv.reader(lines, delimiter=delimiter)
        left = list(range(len(next(records, []))))
        seen: set[int] = set()
        empty: set[int] = set()
        try:
            for record in records:
                if len(record) < len(left):
                    continue
                for column in left:
                    cell = record[column] if column < len(record) else ""
                    (seen if cell else empty).add(column)
                left = [
                    column
                    for column in left
                    if column >= len(record) or not record[column] or _FLOAT.fullmatch(record[column])
                ]
                if not left:
                    break
        except csv.Error:
            return ()
    return [column for column in left if column in seen and column in empty]
