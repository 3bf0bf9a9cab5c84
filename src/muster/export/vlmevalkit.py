"""VLMEvalKit's prediction files: `MODEL/MODEL_DATASET.tsv` (or `.xlsx`), one row per question.

As its `dump` writes and its `load` reads them (e8e78f05, vlmeval/smp/file.py; the first with `PRED_FORMAT=tsv`): all
columns of the benchmark's own table, without images, and `prediction`. Its evaluation (dataset/image_mcq.py,
image_vqa.py, image_yorn.py) wants `index`, `question`, the options as `A`, `B` …, and `answer`: the letter, or a list
as Python prints it where there are several.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Literal

from muster.core import JSON
from muster.core.numbers import whole
from muster.core.text import valid_text
from muster.export.exporting import Exported, file_name, folder_for, left_out
from muster.export.rows import Row, rows_of
from muster.export.workbook import Cell, write_workbook
from muster.result_files.scored_run import ScoredRun
from muster.results.files import encode_json, replacing

SheetForm = Literal["tsv", "xlsx"]

_OWN_TABLE = re.compile(r"^(.+)\.tsv, VLMEvalKit's format")
"""How a task's source describes a table of VLMEvalKit's, whose name is the dataset's."""


def export_vlmevalkit(run: ScoredRun, tasks: Sequence[str], target: Path, form: SheetForm) -> Exported:
    """Write one file per task into a folder of the model's name in the folder `target`.

    Samples without an answer, and all answers to a question but the first, are left out: there is no place for them.
    """
    model = file_name(run.manifest.label)
    folder = folder_for(target / model)
    files: list[Path] = []
    missing = repeated = 0
    for task in tasks:
        rows = list(rows_of(run, task))
        first = [row for row in rows if row.repeat == 0]
        answered = [row for row in first if row.prediction is not None]
        missing += len(first) - len(answered)
        repeated += len(rows) - len(first)
        files.append(folder / f"{model}_{file_name(dataset_name(run, task))}.{form}")
        with replacing(files[-1]) as temporary:
            write_sheet(temporary, sheet_of(answered), form)
    notes = left_out(missing, "samples have no answer and were left out")
    return Exported(tuple(files), (*notes, *left_out(repeated, "repeated answers were left out")))


def dataset_name(run: ScoredRun, task: str) -> str:
    """VLMEvalKit's name of a benchmark whose table is its own, else the task's."""
    own = _OWN_TABLE.match(run.manifest.tasks[task].source)
    return own[1] if own else task


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table."""

    columns: list[str]
    rows: list[list[Cell]]


def sheet_of(rows: Sequence[Row]) -> Sheet:
    """The rows as VLMEvalKit has them; one without an answer has an empty one."""
    letters = list(ascii_uppercase[: max((len(row.choices) for row in rows), default=0)])
    reserved = {"index", "question", "answer", "prediction", "image", *letters}
    further = list(dict.fromkeys(key for row in rows for key in row.metadata if key not in reserved))

    def cells(row: Row) -> Iterator[Cell]:
        yield _index(row)
        yield row.question
        for number in range(len(letters)):
            yield row.choices[number] if number < len(row.choices) and row.choices[number] else None
        yield _answer(row)
        for key in further:
            yield _plain(row.metadata.get(key))
        yield row.prediction or ""

    columns = ["index", "question", *letters, "answer", *further, "prediction"]
    return Sheet(columns, [list(cells(row)) for row in rows])


def write_sheet(path: Path, sheet: Sheet, form: SheetForm) -> None:
    """Write a table; TSV has every cell in quotes, as VLMEvalKit's own."""
    if form == "xlsx":
        write_workbook(path, sheet.columns, sheet.rows)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(sheet.columns)
        writer.writerows(sheet.rows)


def _index(row: Row) -> Cell:
    text = str(whole(row.metadata.get("index", row.id)))
    return int(text) if text.isascii() and text.isdecimal() and str(int(text)) == text else text


def _answer(row: Row) -> Cell:
    if not row.answers:
        return None
    return row.answers[0] if len(row.answers) == 1 else str(list(row.answers))


def _plain(value: JSON) -> Cell:
    if isinstance(value, str):
        return valid_text(value)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    return encode_json(value).decode()
