"""`samples.parquet`: one row per sample and repeat, written in row groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias

from muster.core import JSON
from muster.core.text import valid_text
from muster.metrics.protocol import ScoredSample
from muster.results.answer_scoring import NO_REFERENCE, Answer, Outcome
from muster.results.files import encode_json
from muster.results.results import finite

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP = 4096

Cell: TypeAlias = "str | int | float | bool | list[str] | dict[str, float | None] | None"


class SampleTable:
    """Writes answers, in the order they are added, holding one row group in memory."""

    def __init__(
        self, path: Path, score_names: Sequence[str], further: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """`score_names`: the fields of the column `scores`, of all tasks; `further`: the same by scoring variant."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._score_names = tuple(dict.fromkeys(score_names))
        self._further = {variant: tuple(dict.fromkeys(names)) for variant, names in (further or {}).items()}
        self._schema = pa.schema(
            [
                ("task", pa.string()),
                ("id", pa.string()),
                ("repeat", pa.int32()),
                ("question", pa.string()),
                ("choices", pa.list_(pa.string())),
                ("answers", pa.list_(pa.string())),
                ("prediction", pa.string()),
                ("final_answer", pa.string()),
                ("reasoning", pa.string()),
                ("unfinished", pa.bool_()),
                ("extracted", pa.string()),
                ("scores", _struct(self._score_names)),
                *(
                    column
                    for variant, names in self._further.items()
                    for column in (
                        (f"extracted[{variant}]", pa.string()),
                        (f"scores[{variant}]", _struct(names)),
                    )
                ),
                ("prompt_tokens", pa.int64()),
                ("tokens", pa.int64()),
                ("seconds", pa.float64()),
                ("worker", pa.string()),
                ("finish_reason", pa.string()),
                ("note", pa.string()),
                ("error", pa.string()),
                ("error_kind", pa.string()),
                ("cluster", pa.string()),
                ("metadata", pa.string()),
                ("media", pa.list_(pa.string())),
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

    def add(self, answer: Answer, cluster: str) -> None:
        """Add one row. `cluster` is equal for samples that depend on each other."""
        self._rows.append(self._row(answer, cluster))
        if len(self._rows) >= ROW_GROUP:
            self._write_group()

    def _row(self, answer: Answer, cluster: str) -> dict[str, Cell]:
        sample, record, problem = answer.sample, answer.record, answer.problem
        if problem is not None and problem.kind == NO_REFERENCE:
            problem = None  # no error: there is nothing to be compared
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
            "final_answer": answer.split.answer if answer.split else None,
            "reasoning": (answer.split.thought or None) if answer.split else None,
            "unfinished": answer.unfinished if answer.split else None,
            "extracted": answer.scored.score.extracted if answer.scored else None,
            "scores": _scores(answer.outcome, self._score_names),
            **self._by_further_variants(answer),
            "prompt_tokens": completion.usage.prompt_tokens if completion else None,
            "tokens": completion.usage.completion_tokens if completion else None,
            "seconds": completion.seconds if completion else None,
            "worker": record.worker if record else None,
            "finish_reason": completion.finish_reason if completion else None,
            "note": completion.note if completion else None,
            "error": f"{problem.kind}: {problem.message}" if problem else None,
            "error_kind": problem.kind if problem else None,
            "cluster": cluster,
            "metadata": encode_json(metadata).decode(),
            "media": [each.identity for each in (*sample.images, *sample.videos)],
        }

    def _by_further_variants(self, answer: Answer) -> dict[str, Cell]:
        cells: dict[str, Cell] = {}
        for variant, names in self._further.items():
            outcome = answer.also.get(variant)
            scored = outcome if isinstance(outcome, ScoredSample) else None
            cells[f"extracted[{variant}]"] = scored.score.extracted if scored else None
            cells[f"scores[{variant}]"] = None if outcome is None else _scores(outcome, names)
        return cells

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


def _struct(names: Sequence[str]) -> pa.DataType:
    """A struct without fields can't be written: without a single score the column is null."""
    import pyarrow as pa

    return pa.struct([(name, pa.float64()) for name in names]) if names else pa.null()


def _scores(outcome: Outcome, names: Sequence[str]) -> dict[str, float | None] | None:
    if not names or not isinstance(outcome, ScoredSample):
        return None
    values = outcome.score.scores
    return {name: finite(values.get(name)) for name in names}


def _valid(cell: Cell) -> Cell:
    if isinstance(cell, str):
        return valid_text(cell)
    return [valid_text(item) for item in cell] if isinstance(cell, list) else cell
