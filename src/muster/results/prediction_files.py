"""Files of predictions: Muster's own lines, tables, and what lmms-eval and VLMEvalKit write.

- Muster's: JSON lines `{"id": …, "prediction": …}`, with an optional `repeat`.
- Tables (CSV, TSV, parquet, xlsx; also JSON): a column of ids and one of predictions. So `samples.parquet` of a run,
  and VLMEvalKit's (e8e78f05) `MODEL_DATASET.xlsx`, `.tsv` or `.json`, whose ids are in `index`.
- lmms-eval's (0.7.3) `…_samples_TASK.jsonl`: `doc_id` is the place of a question in its split, `filtered_resps` (or
  `resps`) what was answered.

Pickles are not opened: reading one can run whatever is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from muster.core import ConfigurationError, Sample
from muster.core.numbers import whole
from muster.results.workbook import WORKBOOKS, read_workbook
from muster.tasks.sources.absent import absent
from muster.tasks.sources.json_rows import decode_record
from muster.tasks.sources.row import Row
from muster.tasks.sources.rows import is_known, read_rows

_IDS = ("id", "index", "question_id", "sample_id", "data_id")
_PREDICTIONS = ("prediction", "response", "pred", "output")
_DOC, _FILTERED, _RAW = "doc_id", "filtered_resps", "resps"
_PICKLES = (".pkl", ".pickle", ".pt", ".pth")


class Entry(NamedTuple):
    """One prediction."""

    place: str
    """`line 3`"""
    id: str
    repeat: int
    text: str | None
    """None: the file says that there is none."""


class _Line(msgspec.Struct):
    """One prediction in Muster's own form. Numbers are taken for what they look like."""

    id: str | int | float
    prediction: str | int | float | None
    repeat: int = 0


def read_predictions(path: Path, samples: Sequence[Sample], task: str) -> Iterator[Entry]:
    """The predictions in a file, in its order. `samples` and `task`: what they are for.

    Raises:
        ConfigurationError: the file can't be read, or isn't any of the forms; names the place.
    """
    if path.suffix.lower() in _PICKLES:
        raise ConfigurationError(
            f"{path} is a pickle, which can run code when it is opened, so Muster doesn't: save the predictions as "
            "JSON lines, CSV or xlsx"
        )
    try:
        if path.suffix.lower() in WORKBOOKS:
            yield from _table(path, read_workbook(path), samples, task)
        elif path.suffix.lower() == ".jsonl" or not is_known(path.name):
            yield from _lines(path, samples, task)
        else:
            yield from _rows(path, read_rows(path), samples, task)
    except OSError as error:
        raise ConfigurationError(f"cannot read the predictions {path}: {error.strerror or error}") from error


def _lines(path: Path, samples: Sequence[Sample], task: str) -> Iterator[Entry]:
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
            if not line.strip():
                continue
            if number == 1 and _of_others(line):
                yield from _rows(path, read_rows(path), samples, task)
                return
            parsed = _parse(line, number, path)
            text = None if _no_prediction(parsed.prediction) else str(whole(parsed.prediction))
            yield Entry(f"line {number}", str(whole(parsed.id)), parsed.repeat, text)


def _no_prediction(value: object) -> bool:
    """Whether there is no prediction: null, or the NaN of a data frame. An empty text is one."""
    return value != "" and absent(value)


def _of_others(line: bytes) -> bool:
    """Whether a line is an object in somebody else's words."""
    try:
        first = decode_record(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return isinstance(first, dict) and not {"id", "prediction"} <= first.keys() and bool(_form(first))


def _parse(line: bytes, number: int, path: Path) -> _Line:
    try:
        parsed = msgspec.convert(decode_record(line), _Line)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f'{path}, line {number}: {error}. A line looks like {{"id": "17", "prediction": "C"}}.'
        ) from error
    if parsed.repeat < 0:
        raise ConfigurationError(f"{path}, line {number}: `repeat` is {parsed.repeat}; it counts from 0")
    return parsed


def _form(cells: Mapping[str, object]) -> str:
    """Whose words these are: `lmms-eval`, `table`, or nobody's that is known."""
    if _DOC in cells and (_FILTERED in cells or _RAW in cells):
        return "lmms-eval"
    known = any(name in cells for name in (*_IDS, _DOC)) and any(name in cells for name in _PREDICTIONS)
    return "table" if known else ""


def _rows(path: Path, rows: Iterator[Row], samples: Sequence[Sample], task: str) -> Iterator[Entry]:
    first = next(rows, None)
    if first is None:
        return
    every = _with_first(first, rows)
    if _form(first.cells) == "lmms-eval":
        yield from _lmms_eval(path, every, samples)
    else:
        yield from _table(path, every, samples, task)


def _with_first(first: Row, rows: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from rows


def _table(path: Path, rows: Iterator[Row], samples: Sequence[Sample], task: str) -> Iterator[Entry]:
    """A table with a column of ids and one of predictions; with a column `task`, the rows of this task."""
    names: tuple[str, str] | None = None
    for row in rows:
        cells = row.cells
        if cells.get("task", task) != task and "task" in cells:
            continue
        names = names or _columns(path, cells, samples)
        value, repeat = cells.get(names[1]), whole(cells.get("repeat") or 0)
        name = whole(cells.get(names[0]))
        number = int(repeat) if isinstance(repeat, int | str) and str(repeat).isdecimal() else -1
        if absent(name) or number < 0:
            wrong = names[0] if absent(name) else "repeat"
            raise ConfigurationError(f"{row.place}: {wrong}: {cells.get(wrong)!r} names no prediction")
        yield Entry(_short(row.place, path), str(name), number, _text(value))


def _columns(path: Path, cells: Mapping[str, object], samples: Sequence[Sample]) -> tuple[str, str]:
    """The columns of ids and of predictions. Of several that may hold ids the first whose value is a sample's."""
    present = [name for name in (*_IDS, _DOC) if name in cells]
    known = {sample.id for sample in samples} if len(present) > 1 else set[str]()
    ids = next((name for name in present if str(whole(cells[name])) in known), next(iter(present), None))
    predictions = next((name for name in _PREDICTIONS if name in cells), None)
    if ids is None or predictions is None:
        raise ConfigurationError(
            f"{path}: no column of ids ({', '.join(_IDS)}) beside one of predictions ({', '.join(_PREDICTIONS)}); it "
            f"has {', '.join(cells) or 'none'}"
        )
    return ids, predictions


def _text(value: object) -> str | None:
    """A cell as a prediction; an empty one of a table of texts is an empty answer."""
    return None if _no_prediction(value) else str(whole(value))


def _lmms_eval(path: Path, rows: Iterator[Row], samples: Sequence[Sample]) -> Iterator[Entry]:
    for row in rows:
        doc = whole(row.cells.get(_DOC))
        place = int(doc) if isinstance(doc, int | str) and str(doc).isdecimal() else -1
        if not 0 <= place < len(samples):
            raise ConfigurationError(
                f"{row.place}: doc_id {doc!r} is no place among the task's {len(samples)} samples, from 0: lmms-eval "
                "counts the questions of the split. Give all of them with --samples, in the split's order"
            )
        answers = _flat(row.cells.get(_FILTERED)) or _flat(row.cells.get(_RAW))
        if any(isinstance(answer, bool | int | float) for answer in answers):
            raise ConfigurationError(
                f"{row.place}: {_FILTERED} holds {answers[0]!r}, a log-likelihood, and no answer in words: lmms-eval "
                "chose among the options by the model's numbers, which nothing here can score"
            )
        for repeat, answer in enumerate(answers or [None]):
            yield Entry(_short(row.place, path), samples[place].id, repeat, _text(answer))


def _flat(value: object) -> list[object]:
    if isinstance(value, list):
        return [item for each in value for item in _flat(each)]
    return [] if value is None else [value]


def _short(place: str, path: Path) -> str:
    """`line 3` for `PATH:3`, as messages name it beside the path."""
    rest = place.removeprefix(str(path))
    return f"line {rest[1:]}" if rest[:1] == ":" and rest[1:].isdecimal() else rest.lstrip(": ") or place
