"""Rows of a data file, whatever its format: JSONL, JSON, CSV, TSV or parquet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from muster.core import ConfigurationError
from muster.tasks.yaml_lines import as_mapping

_LINE_BREAK = b"\n"
_LARGEST_CELL = 2**31 - 1
"""Cells hold whole images as data URIs; the csv module's own limit is 128 KiB."""


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a data file."""

    number: int
    """From 0."""
    place: str
    """Where it stands, for messages: `my.jsonl:7`, `my.parquet: row 6 (from 0)`."""
    cells: Mapping[str, object]
    """The record's fields by name."""
    is_text: bool = False
    """Whether every cell is a text, as in CSV: lists and objects then stand in it as JSON."""


def read_rows(file: Path) -> Iterator[Row]:
    """The rows of `file` in its order.

    Raises:
        ConfigurationError: there is no such file, its format is unknown, or it isn't what its name says.
    """
    reader = FORMATS.get(file.suffix.lower())
    if reader is None:
        raise ConfigurationError(f"{file}: {unknown_format(file.name)}")
    try:
        yield from reader(file)
    except FileNotFoundError:
        raise ConfigurationError(f"No such data file: {file}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file}: not UTF-8 text ({error}); save it as UTF-8") from error
    except OSError as error:
        raise ConfigurationError(f"{file}: can't be read: {error.strerror or error}") from error


def unknown_format(name: str) -> str:
    """The sentence for a data file whose name says none of the formats."""
    return f"unknown kind of data file {name!r}: its name ends in none of {', '.join(sorted(FORMATS))}"


def _jsonl(file: Path) -> Iterator[Row]:
    decode = msgspec.json.Decoder().decode
    number = 0
    with file.open("rb") as lines:
        for line_number, line in enumerate(lines, 1):
            text = line.removeprefix(b"\xef\xbb\xbf") if line_number == 1 else line
            if not text.strip():
                continue
            place = f"{file}:{line_number}"
            try:
                record: object = decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ConfigurationError(f"{place}: not a line of JSON: {error}") from error
            yield _record(number, place, record)
            number += 1


def _json(file: Path) -> Iterator[Row]:
    text = file.read_bytes().removeprefix(b"\xef\xbb\xbf")
    if not text.strip():
        return
    try:
        document: object = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        line = _line_of(error, text)
        raise ConfigurationError(f"{file}{line}: not JSON: {error}") from error
    holder = as_mapping(document)
    records = holder.get("samples") if holder is not None else document
    if not isinstance(records, list):
        raise ConfigurationError(
            f"{file}: neither a list of samples nor an object with a list named 'samples'"
        )
    for number, record in enumerate(records):
        yield _record(number, f"{file}: row {number} (from 0)", record)


def _line_of(error: msgspec.DecodeError, text: bytes) -> str:
    """`:LINE`, from the `(byte N)` at the end of msgspec's message."""
    offset = str(error).rpartition("(byte ")[2].rstrip(")")
    return f":{text.count(_LINE_BREAK, 0, int(offset)) + 1}" if offset.isdigit() else ""


def _record(number: int, place: str, record: object) -> Row:
    cells = as_mapping(record)
    if cells is None:
        raise ConfigurationError(f"{place}: not an object with the fields of a sample")
    return Row(number, place, cells)


def _csv(file: Path) -> Iterator[Row]:
    return _delimited(file, ",")


def _tsv(file: Path) -> Iterator[Row]:
    return _delimited(file, "\t")


def _delimited(file: Path, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(_LARGEST_CELL)
    with file.open(encoding="utf-8-sig", newline="") as lines:
        records = csv.reader(lines, delimiter=delimiter, strict=True)
        start = 1
        try:
            header = next(records, [])
            if len(set(header)) < len(header):
                twice = sorted({name for name in header if header.count(name) > 1})
                raise ConfigurationError(f"{file}:1: two columns are named {', '.join(map(repr, twice))}")
            number, start = 0, records.line_num + 1
            for record in records:
                place, start = f"{file}:{start}", records.line_num + 1
                if not record:
                    continue
                if len(record) != len(header):
                    raise ConfigurationError(
                        f"{place}: {len(record)} cells where the header has {len(header)}; "
                        "a cell that holds the delimiter or a line break needs double quotes"
                    )
                yield Row(number, place, dict(zip(header, record, strict=True)), is_text=True)
                number += 1
        except csv.Error as error:
            raise ConfigurationError(
                f"{file}:{start}: {error}; double a quote that belongs to the text"
            ) from error


def _parquet(file: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    with file.open("rb") as content:
        try:
            for batch in pq.ParquetFile(content).iter_batches(batch_size=1024):
                for cells in batch.to_pylist():
                    yield Row(number, f"{file}: row {number} (from 0)", cells)
                    number += 1
        except pa.ArrowException as error:
            raise ConfigurationError(f"{file}: not a parquet file that can be read: {error}") from error


FORMATS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
}
"""Readers by the ending of the file's name."""
