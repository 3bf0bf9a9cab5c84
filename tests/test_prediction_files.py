"""Predictions as other tools write them.

Guards against ids that a data frame has made floats of, answers given to the wrong question, and code in a pickle.
"""

from __future__ import annotations

import json
import pickle
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from muster.core import ConfigurationError
from muster.results.prediction_files import read_predictions
from muster.results.predictions import score_predictions
from muster.results.results import TaskResults
from toy_task import toy_plan, toy_samples

SAMPLES = toy_samples(4, start=10)
"""Ids 10 to 13, answers 0 to 3."""


def score(file: Path) -> TaskResults:
    return score_predictions(toy_plan().task, SAMPLES, file)


def lines(rows: Sequence[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


LMMS_EVAL = [
    {"doc_id": n, "target": str(n), "resps": [[f"I say {n}"]], "filtered_resps": [str(n)], "doc_hash": "x"}
    for n in (2, 0, 1, 3)
]
VLMEVALKIT = [{"index": 10 + n, "question": "q", "answer": str(n), "prediction": str(n)} for n in range(4)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.jsonl", lines([{"id": 10.0 + n, "prediction": float(n)} for n in range(4)])),
        ("p.csv", "id,prediction\n10,0\n11,1\n12,2\n13,3\n"),
        ("p.csv", "index,answer,response\n10.0,9,0\n11.0,9,1\n12.0,9,2\n13.0,,3\n,,\n".replace(",,\n", "")),
        ("p.tsv", "question_id\tpred\n10\t0\n11\t1\n12\t2\n13\t3\n"),
        ("p.json", json.dumps([{"id": str(10 + n), "prediction": str(n)} for n in range(4)])),
        ("p.jsonl", lines([{"question_id": 10 + n, "response": str(n)} for n in range(4)])),
        ("toy_samples.jsonl", lines(LMMS_EVAL)),
        ("toy_samples.jsonl", lines([{k: v for k, v in row.items() if k != "resps"} for row in LMMS_EVAL])),
        ("m_Toy.tsv", "index\tanswer\tprediction\n" + "".join(f"{10 + n}\t{n}\t{n}\n" for n in range(4))),
        ("m_Toy.json", json.dumps(VLMEVALKIT)),
    ],
)
def test_predictions_of_other_tools(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    results = score(tmp_path / name)
    assert results.samples.succeeded == 4
    assert results.metrics["accuracy"].value == 1.0


def test_the_table_of_a_run(tmp_path: Path) -> None:
    rows = [{"task": "toy", "id": str(10 + n), "repeat": 0, "prediction": str(n)} for n in range(4)]
    rows += [{"task": "other", "id": "10", "repeat": 0, "prediction": "x"}]
    rows[3]["prediction"] = None
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "samples.parquet")
    results = score(tmp_path / "samples.parquet")
    assert (results.samples.succeeded, results.samples.errors) == (3, {"missing": 1})


def test_several_answers_to_a_question(tmp_path: Path) -> None:
    rows = [{"doc_id": n, "filtered_resps": [[str(n), "x"]]} for n in range(4)]
    (tmp_path / "p.jsonl").write_text(lines(rows))
    results = score(tmp_path / "p.jsonl")
    assert (results.samples.requested, results.metrics["accuracy"].value) == (8, 0.5)


def test_an_empty_cell_is_an_empty_answer_and_null_is_none(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,prediction\n10,0\n11,\n12,2\n13,3\n")
    assert score(tmp_path / "p.csv").metrics["accuracy"].value == 0.75
    (tmp_path / "p.jsonl").write_text('{"id": 10, "prediction": "0"}\n{"id": 11, "prediction": NaN}\n')
    assert score(tmp_path / "p.jsonl").samples.errors == {"missing": 3}


def test_the_words_nan_in_an_answer_stay_its_own(tmp_path: Path) -> None:
    rows = [
        '{"id":10,"prediction":NaN}',
        '{"id": 11, "prediction": "the value: NaN"}',
        '{"id":12,"prediction":"2"}',
    ]
    (tmp_path / "p.jsonl").write_text("\n".join(rows))
    by_id = {entry.id: entry.text for entry in read_predictions(tmp_path / "p.jsonl", SAMPLES, "toy")}
    assert by_id == {"10": None, "11": "the value: NaN", "12": "2"}


def test_of_two_columns_of_ids_the_one_with_the_tasks_counts(tmp_path: Path) -> None:
    """VLMEvalKit's MMMU has a running `index` beside the questions' own `id`, and other data the other way round."""
    (tmp_path / "p.csv").write_text("index,id,prediction\n10,val_1,0\n11,val_2,1\n12,val_3,2\n13,val_4,3\n")
    assert score(tmp_path / "p.csv").metrics["accuracy"].value == 1.0
    (tmp_path / "p.csv").write_text("index,id,prediction\n0,10,0\n1,11,1\n2,12,2\n3,13,3\n")
    assert score(tmp_path / "p.csv").metrics["accuracy"].value == 1.0


def test_ids_that_the_samples_have_as_floats(tmp_path: Path) -> None:
    samples = [replace(sample, id=f"{sample.id}.0") for sample in SAMPLES]
    (tmp_path / "p.jsonl").write_text(lines([{"id": 10 + n, "prediction": str(n)} for n in range(4)]))
    assert score_predictions(toy_plan().task, samples, tmp_path / "p.jsonl").samples.succeeded == 4


def test_log_likelihoods_are_no_answers(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(lines([{"doc_id": 0, "filtered_resps": [[-1.2, False], [-0.2, True]]}]))
    with pytest.raises(ConfigurationError, match=r"p\.jsonl:1: filtered_resps holds -1\.2, a log-likelihood"):
        score(tmp_path / "p.jsonl")


def write_workbook(file: Path, rows: Sequence[Sequence[object]]) -> None:
    """The least that is a workbook: texts inline, numbers as floats, as Excel has them."""
    cells = "".join(
        "<row>"
        + "".join(
            f'<c t="inlineStr"><is><t>{value}</t></is></c>'
            if isinstance(value, str)
            else f"<c><v>{value}</v></c>"
            for value in row
        )
        + "</row>"
        for row in rows
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    relation = (
        f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{office}/{{}}" Target="{{}}"/></Relationships>'
    )
    kinds = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kinds}.sheet.main+xml"/>'
        f'<Override PartName="/xl/s.xml" ContentType="{kinds}.worksheet+xml"/></Types>',
        "_rels/.rels": relation.format("officeDocument", "xl/workbook.xml"),
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
        '<sheet name="s" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": relation.format("worksheet", "s.xml"),
        "xl/s.xml": f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>',
    }
    with zipfile.ZipFile(file, "w") as book:
        for name, text in parts.items():
            book.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{text}')


def test_workbooks(tmp_path: Path) -> None:
    pytest.importorskip("python_calamine")
    file = tmp_path / "m_Toy.xlsx"
    rows = [[10 + number, "q", number or "0"] for number in range(4)]
    write_workbook(file, [["index", "question", "prediction"], *rows])
    assert score(file).metrics["accuracy"].value == 1.0
    (tmp_path / "torn.xlsx").write_bytes(file.read_bytes()[:200])
    with pytest.raises(ConfigurationError, match="not a workbook that can be read"):
        score(tmp_path / "torn.xlsx")


def test_a_workbook_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    write_workbook(tmp_path / "m.xlsx", [["index"]])
    with pytest.raises(ConfigurationError, match=r"'\.\[xlsx\]"):
        score(tmp_path / "m.xlsx")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.csv", "id,answer\n10,0\n", "no column of ids .* beside one of predictions .* it has id, answer"),
        ("p.csv", "id,prediction\n10,0\n10,1\n", r"'10' \(lines 2 and 3\)"),
        ("p.csv", "id,prediction\nzebra,0\n", r"'zebra' \(line 2\)"),
        ("p.csv", "id,prediction,repeat\n10,0,x\n", "p.csv:2: repeat: 'x'"),
        (
            "p.jsonl",
            lines([{"doc_id": 4, "filtered_resps": ["0"]}]),
            "doc_id 4 is no place among the task's 4",
        ),
        ("p.pkl", "x", "is a pickle, which can run code"),
        ("gone.csv", None, "No such data file"),
        ("gone.jsonl", None, "cannot read the predictions"),
    ],
)
def test_what_cannot_be_read_is_explained(tmp_path: Path, name: str, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigurationError, match=words):
        score(tmp_path / name)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]

    (tmp_path / "p.pkl").write_bytes(pickle.dumps(Runs()))
    with pytest.raises(ConfigurationError):
        score(tmp_path / "p.pkl")
    assert not (tmp_path / "ran").exists()
