"""Rows read column by column, where nothing is odd in them.

A benchmark that is read so must come to the same samples, warnings and complaints as read row by row; a difference
would show as another score of the same model on the same file.
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muster.core import ConfigurationError, Sample
from muster.tasks.sources.field_rules import Columns
from muster.tasks.sources.native import NativeSource
from muster.tasks.sources.plain_rows import AT_ONCE, plain_samples

READ_COLUMNS = "muster.tasks.sources.reading.plain_samples"

TEXTS = ("one", "two", "A", "the (b) one", "ü")
ODD: Mapping[str, Sequence[object]] = {
    "id": (7, 7.0, 7.5, None, "", "same", True, 10**30, [1]),
    "question": ("", " \t", None, 3, ["a"]),
    "choices": (["a", ""], ["", "b"], [None, "b"], [], None, "['a','b']", {"A": "x", "C": "y"}, {"Q": 1}, [1, 2.0], 3),
    "A": ("", None, 3, 2.0, ["a"]),
    "B": ("", None, True, float("nan")),
    "answer": ("C", "Z", "b", "(a)", "one", "", None, 0, 1.0, ["A", "B"], '["A", "B"]', "[A", True, float("nan")),
    "category": ("", None, 3, 2.0, float("nan"), float("inf"), True, ["a", 1], {"k": [None]}, 10**30),
    "metadata": (None, {"k": 1}, '{"k": 2}', {"category": "x"}, 3),
    "image": ("a.png", ["a.png", "b.png"], None, 3, "http://x/y.png", "data:image/png;base64,aGFsbG8="),
}  # fmt: skip
PLAIN: Mapping[str, Sequence[object]] = {
    "question": TEXTS,
    "choices": (["one", "two"], ["a", "b", "c"]),
    "A": TEXTS,
    "B": TEXTS,
    "answer": ("A", "B"),
    "category": ("ocr", "count"),
    "metadata": ({"k": 1},),
    "image": ("a.png",),
}
FIELDS: Sequence[Columns] = (
    {},
    {},
    {"question": {"text": "{{ question }} ({{ category }})"}},
    {"answer": {"column": "answer", "given_as": "index"}},
    {"answer": {"column": "answer", "labels": {"A": "yes", "B": "no"}}},
    {"choices": ["A", "B"]},
    {"choices": None},
    {"metadata": {"kind": "category"}},
    {"id": None},
    {"answers": "answer"},
)


class Data(NamedTuple):
    """A file's rows, and what a task file says of them."""

    rows: list[dict[str, object]]
    columns: list[str]
    fields: Columns
    where: dict[str, object]


@st.composite
def data(draw: st.DrawFn) -> Data:
    columns = ["question", "answer"]
    columns += draw(st.sampled_from([[], ["choices"], ["A", "B"], ["A"], ["A", "B", "choices"]]))
    columns += [name for name in ("id", "category", "metadata", "image") if draw(st.integers(0, 3)) > 1]
    columns = draw(st.permutations(columns))
    odd = draw(st.sets(st.integers(0, 30), max_size=3))
    rows: list[dict[str, object]] = []
    for number in range(draw(st.integers(0, 30))):
        row = {name: f"q{number}" if name == "id" else draw(st.sampled_from(PLAIN[name])) for name in columns}
        if number in odd:
            name = draw(st.sampled_from(columns))
            row[name] = draw(st.sampled_from(ODD[name]))
            if draw(st.booleans()) and draw(st.booleans()):
                del row[name]
        rows.append(row)
    where: dict[str, object] = draw(st.sampled_from([{}, {}, {"category": "ocr"}]))
    return Data(rows, columns, draw(st.sampled_from(FIELDS)), where)


def jsonl(folder: Path, found: Data) -> Path:
    file = folder / "t.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in found.rows))
    return file


def tsv(folder: Path, found: Data) -> Path:
    file = folder / "t.tsv"
    with file.open("w", newline="") as lines:
        writer = csv.writer(lines, delimiter="\t")
        writer.writerow(found.columns)
        for row in found.rows:
            cells = [row.get(name) for name in found.columns]
            writer.writerow(
                [
                    "" if cell is None else cell if isinstance(cell, str) else json.dumps(cell)
                    for cell in cells
                ]
            )
    return file


def parquet(folder: Path, found: Data) -> Path:
    file = folder / "t.parquet"
    columns: dict[str, pa.Array] = {}
    for name in found.columns:
        cells = [row.get(name) for row in found.rows]
        try:
            columns[name] = pa.array(cells)
        except (pa.ArrowException, OverflowError):
            columns[name] = pa.array([None if cell is None else json.dumps(cell) for cell in cells])
    pq.write_table(pa.table(columns), file)
    return file


def outcome(file: Path, found: Data) -> tuple[object, list[str]]:
    """The samples or the complaint, and the warnings."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("muster.tasks.sources.mapped")
    logger.addHandler(handler)
    try:
        source = NativeSource(file, where=found.where, fields=found.fields)  # type: ignore[arg-type]
        samples: list[Sample] = list(source.load())
        return (samples, source.nothing_kept, repr(samples)), said
    except ConfigurationError as error:
        return str(error), said
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("write", [jsonl, tsv, parquet])
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=data())
def test_the_same_as_row_by_row(
    write: object, found: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(write)
    file = write(tmp_path, found)
    fast = outcome(file, found)
    with monkeypatch.context() as patched:
        patched.setattr(READ_COLUMNS, lambda *_: None)
        assert outcome(file, found) == fast


def test_plain_rows_are_read_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above compares nothing."""
    taken: list[int] = []

    def counted(*arguments: object) -> object:
        found = plain_samples(*arguments)  # type: ignore[arg-type]
        taken.append(len(found or []))
        return found

    monkeypatch.setattr(READ_COLUMNS, counted)
    rows: list[dict[str, object]] = [
        {"question": f"{n}?", "choices": ["a", "b"], "answer": "B", "category": "x"} for n in range(600)
    ]
    samples = NativeSource(jsonl(tmp_path, Data(rows, [], {}, {}))).load()
    assert taken == [AT_ONCE, AT_ONCE, 600 - 2 * AT_ONCE]
    assert samples[599] == Sample(
        "599", "599?", choices=("a", "b"), answers=("B",), metadata={"category": "x"}
    )


def test_an_id_that_is_there_twice_is_told_with_both_places(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"id": f"q{n % 700}", "question": "x", "answer": "y"} for n in range(701)
    ]
    file = jsonl(tmp_path, Data(rows, [], {}, {}))
    with pytest.raises(ConfigurationError) as caught:
        NativeSource(file).load()
    assert str(caught.value) == f"{file}:701: id: 'q0' is already the id of {file}:1; ids must be unique"


def count_rows(source: NativeSource, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    passed: list[int] = []
    rows = type(source.origin).rows

    def counted(*args: object) -> Iterator[object]:
        for row in rows(*args):  # type: ignore[arg-type]
            passed.append(row.number)
            yield row

    monkeypatch.setattr(type(source.origin), "rows", counted)
    return passed


def test_the_first_samples_without_the_other_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file of a million rows `--limit 100` must not read all."""
    rows: list[dict[str, object]] = [{"question": f"{n}?", "answer": "y"} for n in range(4 * AT_ONCE)]
    source = NativeSource(jsonl(tmp_path, Data(rows, [], {}, {})))
    passed = count_rows(source, monkeypatch)
    assert source.load(3)[:3] == source.load()[:3]
    assert len(passed) == AT_ONCE + len(rows)


def test_the_first_samples_with_a_column_that_comes_late(tmp_path: Path) -> None:
    """It isn't misspelt because the first rows lack it."""
    rows: list[dict[str, object]] = [{"question": f"{n}?"} for n in range(3 * AT_ONCE)]
    file = jsonl(tmp_path, Data([*rows, {"question": "?", "solution": "y"}], [], {}, {}))
    assert len(NativeSource(file, fields={"answer": "solution"}).load(2)) >= 2
    with pytest.raises(ConfigurationError, match="no row has 'solutio'"):
        NativeSource(file, fields={"answer": "solutio"}).load(2)
