"""Reads what VLMEvalKit wrote (layout of e8e78f05, 18 August 2026).

A run's folder `WORK_DIR/MODEL/EVAL_ID` holds `MODEL_DATASET.xlsx` (or `.tsv`, `.json`) with `index` and `prediction`;
once evaluated, beside it, a copy with a column of scores (`…_result.xlsx`, `…_auxmatch.xlsx`, `…_results.xlsx`) and a
table of totals (`…_acc.csv`, `…_score.csv`, `…_score.json`). Questions are known by `index`. Pickles are never opened.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from muster.core import ConfigurationError
from muster.core.numbers import whole
from muster.result_files.answers import NO_CLUSTERS, ReadAnswer, as_number, as_text, digest, loaded_task
from muster.result_files.json_document import read_document
from muster.result_files.loaded import LoadedRun, LoadedTask
from muster.result_files.predictions import read_predictions_of
from muster.result_files.vlmevalkit_totals import headline_beside
from muster.results.workbook import WORKBOOKS, read_workbook
from muster.tasks.sources.row import Row
from muster.tasks.sources.rows import read_rows

KIND = "VLMEvalKit results"
_TABLES = (".xlsx", ".tsv", ".json", ".csv")
_INDEX, _PREDICTION = "index", "prediction"
_SCORES = ("hit", "score", "eval_score", "verifier_match", "match")
_READ = ("extracted", "extract_answer", "res", "extract", "answer_extracted")
_RUN_ID = re.compile(r"T\d{8}[-_].*")
_LONGEST_CELL = 32_767
_STEPS = ("_auxmatch", "_result", "_results", "_extract", "_tmp", "_checkpoint")
_FAILED = "Failed to obtain answer"
"""What it writes for an answer where a model or an API failed."""


@dataclass(frozen=True, slots=True)
class _Table:
    """A file with answers."""

    path: Path
    columns: tuple[str, ...]

    @property
    def score(self) -> str | None:
        """Its column of scores."""
        return next((name for name in _SCORES if name in self.columns), None)


class _Pair(NamedTuple):
    """A dataset's answers."""

    base: _Table
    scored: list[_Table]


def is_vlmevalkit(path: Path) -> bool:
    """Whether `path` is such a table, a run's folder, or a model's folder of runs."""
    if path.is_file():
        return path.suffix.lower() in _TABLES and _table(path) is not None
    return any(_table(each) for each in _candidates(path)) or bool(_runs(path))


def read_vlmevalkit(path: Path) -> LoadedRun:
    """Read a run's scored answers, or one table's. Raises `ConfigurationError`, with file and row."""
    notes: list[str] = []
    folder = path
    if path.is_dir() and (runs := _runs(path)):
        folder = runs[-1]
        if len(runs) > 1:
            notes.append(f"the newest of {len(runs)} runs was read, {folder.name}")
    around = folder.parent if folder.is_file() else folder
    tables = [table for each in _candidates(around) if (table := _table(each)) is not None]
    status = _status(around)
    model = _model(around, tables, status)
    tasks: dict[str, LoadedTask] = {}
    settings = {"model": model} if model else {}
    if commit := as_text(status.get("commit")):
        settings["packages.VLMEvalKit"] = commit
    pairs = _pairs(tables)
    for base, scored in [_of_file(folder, pairs)] if folder.is_file() else pairs:
        name = base.path.stem.removeprefix(f"{model}_") if model else base.path.stem
        task, said, inputs = _read(name, base, scored)
        notes += said
        tasks[task.name] = task
        settings |= inputs
    return LoadedRun(
        label=model or folder.name,
        path=path,
        kind=KIND,
        tasks=tasks,
        settings=settings,
        notes=(*notes, NO_CLUSTERS),
    )


def _candidates(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_file() and each.suffix.lower() in _TABLES)


def _runs(folder: Path) -> list[Path]:
    """A model's runs, the oldest first."""
    return sorted(
        (each for each in folder.iterdir() if each.is_dir() and _RUN_ID.fullmatch(each.name)),
        key=lambda each: each.name,
    )


def _table(path: Path) -> _Table | None:
    """The file, if it has answers: by its first row."""
    try:
        first = next(_rows(path), None)
    except ConfigurationError:
        if path.suffix.lower() in WORKBOOKS:
            raise
        return None  # a document of another shape: totals, a status
    if first is None or not {_INDEX, _PREDICTION} <= first.cells.keys():
        return None
    return _Table(path, tuple(first.cells))


def _rows(path: Path) -> Iterator[Row]:
    return read_workbook(path) if path.suffix.lower() in WORKBOOKS else read_rows(path)


def _status(folder: Path) -> Mapping[str, object]:
    """What VLMEvalKit noted about the run; nothing where the file is missing, as before 2026."""
    path = folder / "status.json"
    return read_document(path) if path.is_file() else {}


def _model(folder: Path, tables: Sequence[_Table], status: Mapping[str, object]) -> str:
    """The model's name: as noted, else the folder that the files' names begin with, else what several begin with."""
    place = folder.absolute()
    for name in (as_text(status.get("model_name")), place.parent.name, place.name):
        if name and any(each.path.stem.startswith(f"{name}_") for each in tables):
            return name
    bases = [each.base.path.stem.split("_") for each in _pairs(tables)]
    common = [
        parts[0] for parts in itertools.takewhile(lambda each: len(set(each)) == 1, zip(*bases, strict=False))
    ]
    return "_".join(common) if len(bases) > 1 else ""


def _pairs(tables: Sequence[_Table]) -> list[_Pair]:
    """Each file of predictions with the scored copies of it: those whose name goes on where its own ends."""
    plain = [each for each in tables if each.score is None and not _is_step(each, tables)]
    found: dict[Path, _Pair] = {}
    for table in tables:
        bases = [each for each in plain if each is table or _goes_on(table, each)]
        base = max(bases, key=lambda each: len(each.path.stem), default=table)
        pair = found.setdefault(base.path, _Pair(base, []))
        if table.score is not None:
            pair.scored.append(table)
    return list(found.values())


def _of_file(path: Path, pairs: Sequence[_Pair]) -> _Pair:
    """The pair that a file is in; scored copies are read alone."""
    pair = next(each for each in pairs if path in (each.base.path, *(table.path for table in each.scored)))
    return pair if path == pair.base.path else _Pair(pair.base, [t for t in pair.scored if t.path == path])


def _goes_on(table: _Table, base: _Table) -> bool:
    return table.path.stem.startswith(f"{base.path.stem}_")


def _is_step(table: _Table, tables: Sequence[_Table]) -> bool:
    """Whether a file's name says that it is a step of evaluating another, not a dataset's predictions."""
    return table.path.stem.endswith(_STEPS) and any(_goes_on(table, each) for each in tables)


def _read(name: str, base: _Table, scored: Sequence[_Table]) -> tuple[LoadedTask, list[str], dict[str, str]]:
    """One dataset: the task, what to say of it, its settings."""
    if not scored:
        return _scored_here(name, base)
    chosen = max(
        scored,
        key=lambda each: ("vanilla" not in each.path.stem, each.path.stat().st_mtime_ns, each.path.name),
    )
    notes = [f"{name}: scores are those in {chosen.path.name}, column `{chosen.score}`"]
    if others := [each.path.name for each in scored if each is not chosen]:
        notes[0] += f" (not in {', '.join(others)})"
    assert chosen.score is not None
    answers = [_answer(row, chosen) for row in _rows(chosen.path)]
    cut = sum(len(each.prediction or "") >= _LONGEST_CELL for each in answers)
    if cut and chosen.path.suffix.lower() in WORKBOOKS:
        notes.append(
            f"{name}: {cut} answers have {_LONGEST_CELL:,} characters, where a workbook cuts them (PRED_FORMAT=tsv)"
        )
    if failed := sum(each.error_kind == "failed" for each in answers):
        notes.append(
            f"{name}: {failed} answers are the text that stands for a failed request; they were scored as answers"
        )
    task = loaded_task(
        name,
        answers,
        score=chosen.score,
        scoring=f"VLMEvalKit {chosen.path.stem.removeprefix(base.path.stem).strip('_') or chosen.score}",
        headline=headline_beside(base.path),
        by=tuple(key for key in ("category", "l2-category") if key in chosen.columns)[:1],
    )
    questions = [each.question or "" for each in answers]
    return task, notes, {f"tasks.{name}.inputs": digest(questions)}


def _scored_here(name: str, base: _Table) -> tuple[LoadedTask, list[str], dict[str, str]]:
    """Predictions that nobody scored, by the task of Muster's that is called so."""
    from muster.tasks.registry import task_names

    ours = name.lower().replace("-", "_")
    if ours not in task_names():
        raise ConfigurationError(
            f"{base.path} has predictions and no scores, nor have the files beside it: evaluate it with VLMEvalKit "
            "(run.py --mode eval), or give the file and --predictions-of TASK, for a task of Muster's with its samples"
        )
    run = read_predictions_of(base.path, ours)
    task = replace(run.tasks[ours], name=name)
    return task, [f"{name}: {each}" for each in run.notes], {}


def _answer(row: Row, table: _Table) -> ReadAnswer:
    cells: Mapping[str, object] = row.cells
    index = whole(cells.get(_INDEX))
    if index is None or index == "":
        raise ConfigurationError(f"{row.place}: no `index`")
    prediction = as_text(cells.get(_PREDICTION)) or ""
    choices = tuple(text for letter in "ABCDEFGHIJ" if (text := as_text(cells.get(letter))))
    return ReadAnswer(
        id=str(index),
        score=_score(cells.get(table.score or "")),
        extracted=next((text for name in _READ if (text := as_text(cells.get(name)))), None),
        error_kind="failed" if prediction.startswith(_FAILED) else None,
        metadata={
            key: whole(cells[key]) for key in ("category", "l2-category", "split") if as_text(cells.get(key))
        },
        question=as_text(cells.get("question")),
        choices=choices,
        answers=None if (answer := as_text(cells.get("answer"))) is None else (answer,),
        prediction=prediction,
    )


def _score(value: object) -> float | None:
    return as_number(value[0]) if isinstance(value, list) and len(value) == 1 else as_number(value)
