"""The samples as one table: parquet, CSV or JSON lines, with the columns of `samples.parquet`."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from muster.export.exporting import Exported, folder_for
from muster.result_files.scored_run import ScoredRun
from muster.results.files import encode_json, replacing

if TYPE_CHECKING:
    import pyarrow.parquet as pq

TableForm = Literal["parquet", "csv", "jsonl"]
_BATCH = 1024


def export_table(run: ScoredRun, form: TableForm, tasks: Sequence[str], target: Path) -> Exported:
    """Write the rows of `tasks` to the file `target`.

    CSV has a column per score (`scores.accuracy`), lists as JSON; JSON lines have lists, scores and metadata as such.
    """
    folder_for(target.parent)
    with run.samples() as file, replacing(target) as temporary:
        if form == "csv":
            _write_csv(file, tasks, temporary)
        elif form == "jsonl":
            _write_jsonl(file, tasks, temporary)
        elif set(tasks) == set(run.results.tasks):
            shutil.copyfile(run.scored.samples, temporary)
        else:
            _write_parquet(file, tasks, temporary)
    return Exported((target,))


def _write_parquet(file: pq.ParquetFile, tasks: Sequence[str], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    wanted = pa.array(tasks)
    with pq.ParquetWriter(path, file.schema_arrow, compression="zstd") as writer:
        for batch in file.iter_batches(_BATCH):
            writer.write_batch(batch.filter(pc.is_in(batch["task"], wanted)))


def _write_jsonl(file: pq.ParquetFile, tasks: Sequence[str], path: Path) -> None:
    with path.open("wb") as lines:
        for cells in _cells(file, tasks):
            cells["metadata"] = msgspec.json.decode(cells["metadata"] or "{}")
            lines.write(encode_json(cells) + b"\n")


def _write_csv(file: pq.ParquetFile, tasks: Sequence[str], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as table:
        writer = csv.DictWriter(table, _flat_names(file))
        writer.writeheader()
        writer.writerows(_flat(cells) for cells in _cells(file, tasks))


def _flat_names(file: pq.ParquetFile) -> list[str]:
    import pyarrow as pa

    names: list[str] = []
    for field in file.schema_arrow:
        if pa.types.is_struct(field.type):
            names += [f"{field.name}.{inner.name}" for inner in field.type]
        else:
            names.append(field.name)
    return names


def _flat(cells: Mapping[str, Any]) -> dict[str, object]:
    """The cells as CSV has them; a row without scores has no cell for any of them."""
    flat: dict[str, object] = {}
    for name, cell in cells.items():
        if isinstance(cell, dict):
            flat |= {f"{name}.{inner}": value for inner, value in cell.items()}
        elif isinstance(cell, list):
            flat[name] = encode_json(cell).decode()
        elif cell is not None:
            flat[name] = cell
    return flat


def _cells(file: pq.ParquetFile, tasks: Sequence[str]) -> Iterator[dict[str, Any]]:
    wanted = set(tasks)
    for batch in file.iter_batches(_BATCH):
        yield from (cells for cells in batch.to_pylist() if cells["task"] in wanted)
