"""Rows of a data file, whatever its format: JSONL, JSON, CSV, TSV or parquet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from muster.core import ConfigurationError
from muster.tasks.problems import did_you_mean
from muster.tasks.yaml_lines import as_mapping

if TYPE_CHECKING:
    import pyarrow as pa

_LINE_BREAK = b"\n"
_ROWS_AT_ONCE = 32
"""Of a table with images: each may be megabytes."""
_STREAM_BUFFER = 1 << 20
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
    part: int | None = None
    """From 0, where a record makes several rows (`source.explode`)."""


def read_rows(file: Path, records: str | None = None) -> Iterator[Row]:
    """The rows of `file` in its order; of a JSON document, those of its list `records`.

    Raises:
        ConfigurationError: there is no such file, its format is unknown, or it isn't what its name says.
    """
    reader = FORMATS.get(file.suffix.lower())
    if reader is None:
        raise ConfigurationError(f"{file}: {unknown_format(file.name)}")
    yield from _readable(file, _json(file, records) if reader is _json else reader(file))


def _readable(file: Path, rows: Iterator[Row]) -> Iterator[Row]:
    """The rows; what the system says of the file as a `ConfigurationError`."""
    try:
        yield from rows
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


def _json(file: Path, name: str | None = None) -> Iterator[Row]:
    """A list of objects, or the one that a document holds as `name`. Decoded one by one: they may be a million."""
    text = file.read_bytes().removeprefix(b"\xef\xbb\xbf")
    if not text.strip():
        return
    try:
        records = _records(file, text, name)
        for number, record in enumerate(records):
            place = f"{file}: {name or 'row'} {number} (from 0)"
            yield _record(number, place, msgspec.json.decode(record))
    except msgspec.DecodeError as error:
        line = _line_of(error, text)
        raise ConfigurationError(f"{file}{line}: not JSON: {error}") from error


def _records(file: Path, text: bytes, name: str | None) -> list[msgspec.Raw]:
    msgspec.json.decode(text, type=msgspec.Raw)  # finds what is wrong, with its place in the whole text
    if name is None:
        try:
            return msgspec.json.decode(text, type=list[msgspec.Raw])
        except msgspec.ValidationError:
            pass
    wanted = name or "samples"
    try:
        lists = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        return msgspec.json.decode(lists[wanted], type=list[msgspec.Raw])
    except KeyError:
        known = f"; it has {', '.join(lists)}{did_you_mean(wanted, lists)}" if name else ""
    except msgspec.ValidationError:
        known = ""
    if name is None:
        raise ConfigurationError(
            f"{file}: neither a list of samples nor an object with a list named 'samples'; say under `source:` "
            "which list it is (`records: …`)"
        )
    raise ConfigurationError(f"{file}: not an object with a list named {name!r}{known}")


def _line_of(error: msgspec.DecodeError, text: bytes) -> str:
    """`:LINE`, from the `(byte N)` at the end of msgspec's message."""
    offset = str(error).rpartition("(byte ")[2].rstrip(")")
    return f":{text.count(_LINE_BREAK, 0, int(offset)) + 1}" if offset.isdigit() else ""


def _record(number: int, place: str, record: object) -> Row:
    cells = as_mapping(record)
    if cells is None:
        raise ConfigurationError(f"{place}: not an object with the fields of a sample")
    return Row(number, place, cells)


def read_delimited(file: Path, delimiter: str) -> Iterator[Row]:
    """The rows of a CSV or TSV file whatever its name is. Raises as `read_rows` does."""
    return _readable(file, _delimited(file, delimiter))


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

    with file.open("rb") as content:
        try:
            # Read as a stream: a row group of images, read whole, is easily a gigabyte.
            table = pq.ParquetFile(content, buffer_size=_STREAM_BUFFER, pre_buffer=False)
            yield from _arrow_rows(file, table.iter_batches(batch_size=_ROWS_AT_ONCE))
        except pa.ArrowException as error:
            raise ConfigurationError(f"{file}: not a parquet file that can be read: {error}") from error


def _arrow(file: Path) -> Iterator[Row]:
    """What `datasets` keeps in its cache and in `save_to_disk`: Arrow's stream format; its file format too."""
    import pyarrow as pa

    with pa.memory_map(str(file)) as content:
        try:
            try:
                batches: Iterator[pa.RecordBatch] = iter(pa.ipc.open_stream(content))
            except pa.ArrowInvalid:
                content.seek(0)
                opened = pa.ipc.open_file(content)
                batches = (opened.get_batch(index) for index in range(opened.num_record_batches))
            yield from _arrow_rows(file, batches)
        except pa.ArrowException as error:
            raise ConfigurationError(f"{file}: not an Arrow file that can be read: {error}") from error


def _arrow_rows(file: Path, batches: Iterator[pa.RecordBatch]) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
            for cells in batch.slice(start, _ROWS_AT_ONCE).to_pylist():
                yield Row(number, f"{file}: row {number} (from 0)", cells)
                number += 1


FORMATS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": partial(_delimited, delimiter=","),
    ".tsv": partial(_delimited, delimiter="\t"),
    ".parquet": _parquet,
    ".arrow": _arrow,
}
"""Readers by the ending of the file's name."""
