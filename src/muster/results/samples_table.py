"""`samples.parquet`: one row per sample and repeat, written in row groups."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self, TypeAlias

from muster.core import JSON
from muster.core.text import valid_text
from muster.results.answer_scoring import Answer
from muster.results.files import encode_json
from muster.results.results import finite

ROW_GROUP = 4096

Cell: TypeAlias = "str | int | float | list[str] | dict[str, float | None] | None"


class SampleTable:
    """Writes answers, in the order they are added, holding one row group in memory."""

    def __init__(self, path: Path, score_names: Sequence[str]) -> None:
        """`score_names`: the fields of the column `scores`, of all tasks."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._score_names = tuple(dict.fromkeys(score_names))
        # A struct without fields can't be written: without a single score the column is null.
        scores = pa.struct([(name, pa.float64()) for name in self._score_names])
        self._schema = pa.schema(
            [
                ("task", pa.string()),
                ("id", pa.string()),
                ("repeat", pa.int32()),
                ("question", pa.string()),
                ("choices", pa.list_(pa.string())),
                ("answers", pa.list_(pa.string())),
                ("prediction", pa.string()),
                ("extracted", pa.string()),
                ("scores", scores if self._score_names else pa.null()),
                ("prompt_tokens", pa.int64()),
                ("tokens", pa.int64()),
                ("seconds", pa.float64()),
                ("worker", pa.string()),
                ("finish_reason", pa.string()),
                ("note", pa.string()),
                ("error", pa.string()),
                ("error_kind", pa.string()),
                ("metadata", pa.string()),
            ]
        )
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[dict[str, Cell]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        try:
            if exception_type is None:
                self._write_group()
        finally:
            self._writer.close()

    def add(self, answer: Answer) -> None:
        """Add one row."""
        self._rows.append(self._row(answer))
        if len(self._rows) >= ROW_GROUP:
            self._write_group()

    def _row(self, answer: Answer) -> dict[str, Cell]:
        sample, record, problem = answer.sample, answer.record, answer.problem
        completion = record.completion if record else None
        metadata: dict[str, JSON] = dict(sample.metadata)
        return {
            "task": answer.task,
            "id": sample.id,
            "repeat": answer.repeat,
            "question": sample.question,
            "choices": list(sample.choices),
            "answers": list(sample.answers),
            "prediction": completion.text if completion else None,
            "extracted": answer.scored.score.extracted if answer.scored else None,
            "scores": self._scores(answer),
            "prompt_tokens": completion.usage.prompt_tokens if completion else None,
            "tokens": completion.usage.completion_tokens if completion else None,
            "seconds": completion.seconds if completion else None,
            "worker": record.worker if record else None,
            "finish_reason": completion.finish_reason if completion else None,
            "note": completion.note if completion else None,
            "error": f"{problem.kind}: {problem.message}" if problem else None,
            "error_kind": problem.kind if problem else None,
            "metadata": encode_json(metadata).decode(),
        }

    def _scores(self, answer: Answer) -> dict[str, float | None] | None:
        if not self._score_names or answer.scored is None:
            return None
        values = answer.scores
        return {name: finite(values.get(name)) for name in self._score_names}

    def _write_group(self) -> None:
        import pyarrow as pa

        if not self._rows:
            return
        try:
            table = pa.Table.from_pylist(self._rows, schema=self._schema)
        except UnicodeEncodeError:
            valid = [{name: _valid(cell) for name, cell in row.items()} for row in self._rows]
            table = pa.Table.from_pylist(valid, schema=self._schema)
        self._writer.write_table(table)
        self._rows.clear()


def _valid(cell: Cell) -> Cell:
    if isinstance(cell, str):
        return valid_text(cell)
    return [valid_text(item) for item in cell] if isinstance(cell, list) else cell
