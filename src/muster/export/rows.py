"""The rows of a run's `samples.parquet`, a batch at a time, as exports read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from muster.core import JSON, ConfigurationError
from muster.core.text import did_you_mean
from muster.result_files.scored_run import ScoredRun

_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One sample and repeat."""

    task: str
    id: str
    repeat: int
    place: int
    """Of the sample among its task's, from 0."""
    question: str
    choices: tuple[str, ...]
    answers: tuple[str, ...]
    prediction: str | None
    """The answer as it came; None where there is none."""
    final_answer: str | None
    """The same without what the model thought before it."""
    scores: Mapping[str, float | None]
    """Empty without a score."""
    metadata: Mapping[str, JSON] = field(default_factory=dict)

    @property
    def answer(self) -> str | None:
        """What counts as the answer, without blank space around it; None where there is none."""
        text = self.final_answer if self.final_answer is not None else self.prediction
        return None if text is None else text.strip()


def chosen_tasks(run: ScoredRun, asked: Sequence[str]) -> list[str]:
    """The tasks to export: those `asked` for, or all. Raises `ConfigurationError` for one that the run hasn't got."""
    known = list(run.results.tasks)
    for name in asked:
        if name not in known:
            raise ConfigurationError(
                f"--task {name}: the run has no such task{did_you_mean(name, known)} (it has {', '.join(known)})"
            )
    return list(dict.fromkeys(asked)) or known


def rows_of(run: ScoredRun, task: str) -> Iterator[Row]:
    """One task's rows, in its order."""
    place, last = -1, None
    with run.samples() as file:
        known = [name for name in _COLUMNS if name in file.schema_arrow.names]
        for batch in file.iter_batches(_BATCH, columns=known):
            for cells in batch.to_pylist():
                if cells["task"] != task:
                    continue
                if cells["id"] != last:
                    place, last = place + 1, cells["id"]
                yield _row(cells, place)


_COLUMNS = (
    "task", "id", "repeat", "question", "choices", "answers", "prediction", "final_answer", "scores", "metadata",
)  # fmt: skip


def _row(cells: dict[str, Any], place: int) -> Row:
    return Row(
        task=cells["task"],
        id=cells["id"],
        repeat=cells["repeat"],
        place=place,
        question=cells["question"],
        choices=tuple(cells["choices"] or ()),
        answers=tuple(cells["answers"] or ()),
        prediction=cells["prediction"],
        final_answer=cells.get("final_answer"),
        scores=cells["scores"] or {},
        metadata=msgspec.json.decode(cells["metadata"]) if cells["metadata"] else {},
    )
