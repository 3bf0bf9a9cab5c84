"""`samples.parquet`: one row per sample and repeat, written in row groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from muster.core import Completion, RequestKey
from muster.metrics.protocol import ScoredSample
from muster.results.answer_scoring import NO_REFERENCE, Answer, Outcome, Problem
from muster.results.columns import column_of
from muster.results.files import encode_json

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP = 4096

_NOTHING = Completion(RequestKey("", ""))
"""Stands for what an answer that isn't there would say."""


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
        self._columns = [column_of(field.type) for field in self._schema]
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        try:
            if exception_type is None and self._rows:
                self._write_group()
        finally:
            self._writer.close()

    def add(self, answers: Sequence[Answer], clusters: Iterable[str]) -> None:
        """Add a row for each answer. Clusters are equal for samples that depend on each other."""
        for column, cells in zip(self._columns, self._cells(answers, clusters), strict=True):
            column.extend(cells)
        self._rows += len(answers)
        if self._rows >= ROW_GROUP:
            self._write_group()

    def _cells(self, answers: Sequence[Answer], clusters: Iterable[str]) -> Iterator[Iterable[Any]]:
        """The cells of each column, in the schema's order."""
        samples = [answer.sample for answer in answers]
        records = [answer.record for answer in answers]
        completions = [record.completion if record else _NOTHING for record in records]
        splits = [answer.split for answer in answers]
        problems = [_error(answer) for answer in answers]
        yield [answer.task for answer in answers]
        yield [sample.id for sample in samples]
        yield [answer.repeat for answer in answers]
        yield [sample.question for sample in samples]
        yield [sample.choices for sample in samples]
        yield [sample.answers for sample in samples]
        yield [completion.text for completion in completions]
        yield [split.answer if split else None for split in splits]
        yield [(split.thought or None) if split else None for split in splits]
        yield [not split.finished if split else None for split in splits]
        yield from _by_one_variant([answer.outcome for answer in answers])
        for variant in self._further:
            yield from _by_one_variant([answer.also.get(variant) for answer in answers])
        yield [completion.usage.prompt_tokens for completion in completions]
        yield [completion.usage.completion_tokens for completion in completions]
        yield [completion.seconds for completion in completions]
        yield [record.worker if record else None for record in records]
        yield [completion.finish_reason for completion in completions]
        yield [completion.note for completion in completions]
        yield [f"{problem.kind}: {problem.message}" if problem else None for problem in problems]
        yield [problem.kind if problem else None for problem in problems]
        yield clusters
        yield [encode_json(sample.metadata).decode() for sample in samples]
        yield [
            [each.identity for each in (*sample.images, *sample.videos)]
            if sample.images or sample.videos
            else ()
            for sample in samples
        ]

    def _write_group(self) -> None:
        import pyarrow as pa

        arrays = [column.array() for column in self._columns]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._columns = [column_of(field.type) for field in self._schema]
        self._rows = 0


def _struct(names: Sequence[str]) -> pa.DataType:
    """A struct without fields can't be written: without a single score the column is null."""
    import pyarrow as pa

    return pa.struct([(name, pa.float64()) for name in names]) if names else pa.null()


def _by_one_variant(outcomes: Sequence[Outcome | None]) -> Iterator[Iterable[Any]]:
    """The cells of the columns `extracted` and `scores`."""
    scores = [outcome.score if isinstance(outcome, ScoredSample) else None for outcome in outcomes]
    yield [score.extracted if score else None for score in scores]
    yield [score.scores if score else None for score in scores]


def _error(answer: Answer) -> Problem | None:
    """What went wrong; that there is nothing to compare the answer with is no error."""
    outcome = answer.outcome
    return outcome if isinstance(outcome, Problem) and outcome.kind != NO_REFERENCE else None
