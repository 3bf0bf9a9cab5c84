"""Rows of a data file, whatever its format: JSONL, JSON, CSV, TSV or parquet."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from muster.core import ConfigurationError
from muster.core.regular_files import regular
from muster.tasks.sources.delimited import read_delimited
from muster.tasks.sources.json_rows import json_rows, jsonl_rows
from muster.tasks.sources.row import Row
from muster.tasks.sources.text_files import GZIP, ending

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_ROWS = 1024
_FEWEST_ROWS = 32
"""Read at once: where they may hold images, each may be megabytes."""
_BYTES_AT_ONCE = 4 << 20
_STREAM_BUFFER = 1 << 20


def read_rows(file: Path, records: str | None = None) -> Iterator[Row]:
    """The rows of `file` in its order; of a JSON document, those of its list `records`.

    Raises:
        ConfigurationError: there is no such file, its format is unknown, or it isn't what its name says.
    """
    reader = FORMATS.get(ending(file.name))
    if reader is None or not is_known(file.name):
        raise ConfigurationError(f"{file}: {unknown_format(file.name)}")
    yield from _readable(file, reader(file, records))


def read_tsv(file: Path) -> Iterator[Row]:
    """The rows of a TSV file, whatever its name is. Raises as `read_rows` does."""
    return _readable(file, read_delimited(file, "\t"))


def _readable(file: Path, rows: Iterator[Row]) -> Iterator[Row]:
    """The rows; what the system says of the file as a `ConfigurationError`."""
    try:
        regular(file)
        yield from rows
    except RecursionError:
        raise ConfigurationError(f"{file}: lists or objects are nested too deep in it") from None
    except FileNotFoundError:
        raise ConfigurationError(f"No such data file: {file}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file}: not UTF-8 text ({error}); save it as UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"{file}: can't be read: {reason}") from error


def is_known(name: str) -> bool:
    """Whether a file of this name can be read; text files also with `.gz` behind."""
    return ending(name) in (_TEXTS if name.lower().endswith(GZIP) else FORMATS)


def unknown_format(name: str) -> str:
    """The sentence for a data file whose name says none of the formats."""
    endings = ", ".join(sorted(FORMATS))
    return f"unknown kind of data file {name!r}: its name ends in none of {endings} (text files also with {GZIP})"


def _parquet(file: Path, _records: str | None) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with file.open("rb") as content:
        try:
            # Read as a stream: a row group of images, read whole, is easily a gigabyte.
            table = pq.ParquetFile(content, buffer_size=_STREAM_BUFFER, pre_buffer=False)
            row_bytes = file.stat().st_size // max(1, table.metadata.num_rows)
            yield from _arrow_rows(
                file, table.iter_batches(batch_size=_rows_at_once(table.schema_arrow, row_bytes))
            )
        except pa.ArrowException as error:
            raise ConfigurationError(f"{file}: not a parquet file that can be read: {error}") from error


def _arrow(file: Path, _records: str | None) -> Iterator[Row]:
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
    number, name = 0, str(file)
    for batch in batches:
        step = _rows_at_once(batch.schema, batch.nbytes // max(1, batch.num_rows))
        short = {each.name: as_printed for each in batch.schema if (as_printed := _as_printed(each.type))}
        for start in range(0, batch.num_rows, step):
            for cells in batch.slice(start, step).to_pylist():
                for column, as_printed in short.items():
                    cells[column] = as_printed(cells[column])
                yield Row(number, f"{name}: row {number} (from 0)", cells)
                number += 1


def _as_printed(kind: pa.DataType) -> Callable[[object], object] | None:
    """How a value with short floats becomes one with the numbers that they print: 2.1, not 2.0999999046325684.

    None where the type has none.
    """
    import numpy as np
    import pyarrow.types as are

    if are.is_float32(kind) or are.is_float16(kind):
        short = np.float32 if are.is_float32(kind) else np.float16
        return lambda value: None if value is None else float(str(short(value)))  # type: ignore[arg-type]
    if are.is_list(kind) or are.is_large_list(kind) or are.is_fixed_size_list(kind):
        item = _as_printed(kind.value_type)
        return item and (lambda value: [*map(item, value)] if isinstance(value, list) else value)
    if are.is_struct(kind):
        inside = {each.name: inner for each in kind if (inner := _as_printed(each.type))}
        return (lambda value: _with_printed(value, inside)) if inside else None
    return None


def _with_printed(value: object, inside: Mapping[str, Callable[[object], object]]) -> object:
    if not isinstance(value, dict):
        return value
    return value | {name: as_printed(value[name]) for name, as_printed in inside.items()}


def _rows_at_once(schema: pa.Schema, row_bytes: int) -> int:
    """How many rows of a table are held as Python objects, where one has so many bytes on average."""
    if any(map(_may_hold_images, schema.types)):
        return _FEWEST_ROWS
    return max(_FEWEST_ROWS, min(_MOST_ROWS, _BYTES_AT_ONCE // max(1, row_bytes)))


def _may_hold_images(kind: pa.DataType) -> bool:
    import pyarrow.types as are

    if are.is_binary(kind) or are.is_large_binary(kind) or are.is_fixed_size_binary(kind):
        return True
    return any(_may_hold_images(kind.field(number).type) for number in range(kind.num_fields))


def _csv(file: Path, _records: str | None) -> Iterator[Row]:
    return read_delimited(file, ",")


def _tsv(file: Path, _records: str | None) -> Iterator[Row]:
    return read_delimited(file, "\t")


_TEXTS: Mapping[str, Callable[[Path, str | None], Iterator[Row]]] = {
    ".jsonl": jsonl_rows,
    ".json": json_rows,
    ".csv": _csv,
    ".tsv": _tsv,
}
FORMATS: Mapping[str, Callable[[Path, str | None], Iterator[Row]]] = {
    **_TEXTS,
    ".parquet": _parquet,
    ".arrow": _arrow,
}
"""Readers by the ending of the file's name; they get the file and which list of a JSON document has the records."""
