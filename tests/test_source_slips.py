"""Data as it comes out of data frames and other people's tools: what a good guess gets wrong.

Guards against whole numbers that have become floats, letters that shift, files that are refused for how they are
packed, and one bad row that stops a benchmark.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import muster
from muster.cli.app import app
from muster.core import ConfigurationError, Sample
from muster.metrics.registry import build_metric
from muster.tasks.prompts import TemplatePrompt
from muster.tasks.registry import absolute_name, load_tasks
from muster.tasks.sources.list_text import looks_like_list, parse_list
from muster.tasks.sources.native import NativeSource
from processes import fake


def load(file: Path, content: str, **more: object) -> list[Sample]:
    file.write_text(content)
    return list(NativeSource(file, **more).load())  # type: ignore[arg-type]


def task_samples(folder: Path, source: str, metric: str = "exact_match") -> list[Sample]:
    (folder / "t.yaml").write_text(f"name: t\nsource: {source}\nmetric: {metric}\n")
    [task] = load_tasks([str(folder / "t.yaml")])
    return list(task.source.load())


# -- whole numbers


def test_whole_numbers_of_a_csv_column_with_gaps(tmp_path: Path) -> None:
    # As pandas writes a column of whole numbers in which one is missing.
    csv = "idx,question,A,B,answer,level,ratio\n7.0,q,3.0,4,B,2.0,0.5\n,q,,4,B,,1.0\n3.0,q,5.0,6,A,1.0,\n"
    fields = {"id": "idx"}
    first, second, third = load(tmp_path / "t.csv", csv, fields=fields)
    assert [first.id, second.id, third.id] == ["7", "1", "3"]
    assert first.choices == ("3", "4")
    assert second.choices == ("", "4")
    assert first.metadata == {"level": "2", "ratio": "0.5"}
    assert second.metadata == {"ratio": "1.0"}  # not all of its column are whole


def test_a_text_that_only_looks_like_one_stays(tmp_path: Path) -> None:
    samples = load(tmp_path / "t.csv", "question,answer\nWhich version?,3.0\nWhich?,2.0\n")
    assert [sample.answer for sample in samples] == ["3.0", "2.0"]


def test_short_floats_of_parquet_are_what_they_print(tmp_path: Path) -> None:
    """As a Python number the 32-bit 2.1 is 2.0999999046325684, which no answer equals."""
    nested = pa.struct([("x", pa.float32()), ("name", pa.string())])
    table = pa.table(
        {
            "question": ["q", "q", "q"],
            "answer": pa.array([2.1, None, 3], pa.float32()),
            "box": pa.array([[0.1, None], None, []], pa.list_(pa.float32())),
            "about": pa.array([{"x": 0.3, "name": "a"}, None, {"x": None, "name": "b"}], nested),
            "half": pa.array(np.array([0.1, 2.0, 3.5], np.float16)),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    first, second, third = NativeSource(tmp_path / "t.parquet").load()
    assert [first.answers, second.answers, third.answers] == [("2.1",), (), ("3",)]
    assert first.metadata == {"box": [0.1, None], "about": {"x": 0.3, "name": "a"}, "half": 0.1}
    assert third.metadata == {"box": [], "about": {"x": None, "name": "b"}, "half": 3.5}


def test_booleans_as_data_frames_write_them(tmp_path: Path) -> None:
    csv = "question,answer,sure\nq,True,True\nq,False,False\nq,TRUE,\n"
    fields = {
        "answer": {"column": "answer", "labels": {True: "yes", False: "no"}}
    }  # as YAML reads true and false
    samples = load(tmp_path / "t.csv", csv, fields=fields)
    assert [sample.answer for sample in samples] == ["yes", "no", "yes"]
    (kept,) = load(tmp_path / "t.csv", csv, fields=fields, where={"sure": True})
    assert kept.id == "0"


@pytest.mark.parametrize("answer", ["", " ", "\n", None, [], [None], [""], ["", None, " "]])
def test_what_says_nothing_is_no_answer(tmp_path: Path, answer: object) -> None:
    rows: list[dict[str, object]] = [
        {"question": "q", "answer": answer},
        {"question": "q", "answer": [None, "x"]},
    ]
    first, second = load(tmp_path / "t.jsonl", "\n".join(map(json.dumps, rows)))
    assert (first.answers, second.answers) == ((), ("x",))


def test_a_printed_list_of_answers_is_a_list(tmp_path: Path) -> None:
    """As a text of its own it was the only right answer, and nothing equalled it."""
    csv = "question,answer\nq,\"['a', 'b']\"\nq,['a' 'b']\nq,['a\nq,[a]\n"
    samples = load(tmp_path / "t.csv", csv)
    assert [sample.answers for sample in samples] == [("a", "b"), ("a", "b"), ("['a",), ("[a]",)]


def test_of_equal_choices_each_is_right(tmp_path: Path) -> None:
    row = {"question": "q", "choices": ["x", "y", "x"], "answer": "x"}
    fields = {"answer": {"column": "answer", "given_as": "text"}}
    (sample,) = load(tmp_path / "t.jsonl", json.dumps(row), fields=fields)
    assert sample.answers == ("A", "C")


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_whole_numbers_of_typed_columns(tmp_path: Path, form: str) -> None:
    rows: list[dict[str, object]] = [
        {"n": 17.0, "question": "q", "answer": 3.0, "level": 2.0, "group": 1.0},
        {"n": 18.0, "question": "q", "answer": None, "level": None, "group": 1.0},
        {"n": 19.0, "question": "q", "answer": 2.5, "level": 3.0, "group": 2.0},
    ]
    file = tmp_path / f"t.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    samples = NativeSource(file, fields={"id": "n"}).load()
    assert [sample.id for sample in samples] == ["17", "18", "19"]
    assert [sample.answers for sample in samples] == [("3",), (), ("2.5",)]
    assert [sample.id for sample in NativeSource(file, {"level": 2}, {"id": "n"}).load()] == ["17"]
    templated = NativeSource(file, fields={"id": "{{ group }}-{{ n }}"}).load()
    assert templated[0].id == "1-17"
    [message] = TemplatePrompt("{{ metadata.level }} {{ question }}").render(samples[0])
    assert message.text == "2 q"


@pytest.mark.parametrize(
    ("given_as", "value", "letter"),
    [
        ("index", 1.0, "B"),
        ("number", 1.0, "A"),
        ("index", "1.0", "B"),
        ("text", "4.0", "B"),
        ("text", 4.0, "B"),
    ],
)
def test_answers_given_as_numbers(tmp_path: Path, given_as: str, value: object, letter: str) -> None:
    row = {"question": "q", "choices": ["3", "4"], "right": value}
    fields: Mapping[str, object] = {"answer": {"column": "right", "given_as": given_as}}
    [sample] = load(tmp_path / "t.jsonl", json.dumps(row), fields=fields)
    assert sample.answer == letter


def test_labels_and_joins_of_whole_numbers(tmp_path: Path) -> None:
    fields = {"answer": {"column": "label", "labels": ["no", "yes"]}}
    [sample] = load(tmp_path / "t.jsonl", '{"question": "q", "label": 1.0}', fields=fields)
    assert sample.answer == "yes"
    (tmp_path / "d.json").write_text(
        '{"samples": [{"question": "q", "image_id": 7.0}], "images": [{"id": 7, "title": "seven"}]}'
    )
    source = "{file: d.json, join: {records: images, match: {image_id: id}, as: photo}, fields: {answer: photo.title}}"
    assert task_samples(tmp_path, source)[0].answer == "seven"


def test_categories_of_whole_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"question": "q", "answer": "x", "level": 3.0}\n')
    (tmp_path / "t.yaml").write_text("name: t\nsource: {file: t.jsonl}\nmetric: exact_match\nby: [level]\n")
    results = muster.evaluate(
        "echo", [str(tmp_path / "t.yaml")], backend=fake("Echo"), output=tmp_path / "run", engine="inline"
    )
    assert list(results.tasks["t"].by["level"]) == ["3"]


# -- options and references


def test_an_empty_option_keeps_the_letters_of_those_after_it(tmp_path: Path) -> None:
    tsv = "index\tquestion\tA\tB\tC\tD\tanswer\n1\tWhich?\tcat\tdog\t\tbird\tD\n"
    (tmp_path / "t.tsv").write_text(tsv)
    [sample] = task_samples(tmp_path, "{tsv: t.tsv}", "multiple_choice")
    assert sample.choices == ("cat", "dog", "", "bird")
    assert sample.answer == "D"
    [message] = TemplatePrompt().render(sample)
    assert "B. dog\nD. bird" in message.text
    assert "C" not in message.text
    own = "{% for letter in letters %}{{ letter }}={{ choices[loop.index0] }};{% endfor %}"
    assert TemplatePrompt(own).render(sample)[0].text == "A=cat;B=dog;D=bird;"
    metric = build_metric("multiple_choice")
    assert metric.score(sample, "D").scores["accuracy"] == 1
    assert metric.score(sample, "the bird").scores["accuracy"] == 1
    assert metric.score(sample, "C").extracted is None


@pytest.mark.parametrize(
    "choices",
    [
        '{"A": "cat", "B": "dog", "C": null}',
        '{"b": "dog", "a": "cat"}',
        '"{\\"A\\": \\"cat\\", \\"B\\": \\"dog\\"}"',
    ],
)
def test_choices_by_letter(tmp_path: Path, choices: str) -> None:
    [sample] = load(tmp_path / "t.jsonl", f'{{"question": "q", "choices": {choices}, "answer": "B"}}')
    assert (sample.choices, sample.answer) == (("cat", "dog"), "B")


def test_choices_by_other_names_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"choices: choices\.text"):
        load(
            tmp_path / "t.jsonl",
            '{"question": "q", "choices": {"text": ["a"], "label": ["A"]}, "answer": "A"}',
        )


BAD = [
    {"choices": ["a", "b"], "answer": "D"},
    {"choices": [["a", "b"]], "answer": "A"},
    {"choices": ["a", {"b": 1}], "answer": "A"},
    {"choices": ["x"] * 27, "answer": "A"},
    {"choices": ["a", "", "c"], "answer": "B"},
    {"choices": "[['a', 'b'], ['c']]", "answer": "A"},
    {"choices": 5, "answer": "A"},
    {"choices": ["a", "b"], "answer": True},
    {"choices": ["a", "b"], "answer": [["A"]]},
]


@pytest.mark.parametrize("bad", BAD)
def test_a_reference_that_makes_no_sense_costs_its_sample_alone(
    tmp_path: Path, bad: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    good = {"question": "q", "choices": ["a", "b"], "answer": "A"}
    rows = [{"id": "0", **good}, {"id": "1", "question": "q", **bad}, {"id": "2", **good}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "t.yaml").write_text("name: t\nsource: {file: t.jsonl}\nmetric: multiple_choice\n")
    given = {"backend": fake("Remembers"), "output": tmp_path / "run", "engine": "inline"}
    results = muster.evaluate("echo", [str(tmp_path / "t.yaml")], **given)
    samples = results.tasks["t"].samples
    assert (samples.succeeded, samples.errored, samples.errors) == (2, 1, {"sample": 1})
    assert results.complete
    assert "1 of 3 samples can't be scored, and won't be asked" in caplog.text
    journal = (tmp_path / "run" / "journal.jsonl").read_text()
    assert '"worker":"data"' in journal.replace(" ", "")
    again = muster.evaluate("echo", [str(tmp_path / "t.yaml")], **given)
    assert again.tasks["t"].samples == samples


def test_references_that_are_mostly_wrong_are_a_mistake_of_the_task(tmp_path: Path) -> None:
    rows = [{"question": "q", "choices": ["cat", "dog"], "answer": text} for text in ("cat", "dog", "A")]
    with pytest.raises(ConfigurationError, match="given_as: text") as caught:
        load(tmp_path / "t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert len(str(caught.value).splitlines()) == 2


def test_equal_problems_are_one(tmp_path: Path) -> None:
    rows = "".join('{"ask": "q", "n": 0}\n' for _ in range(5))
    with pytest.raises(ConfigurationError, match="can't be rendered") as caught:
        load(tmp_path / "t.jsonl", rows, fields={"question": "{{ 1 // n }}"})
    assert len(str(caught.value).splitlines()) == 1
    assert "4 more like it, the last at" in str(caught.value)


# -- files


ROWS = [{"id": "a", "question": "q", "answer": "x"}, {"id": "b", "question": "q", "answer": "y"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.json", LINES),
        ("t.json", "\ufeff\n" + LINES),
        ("t.jsonl", json.dumps(ROWS)),
        ("t.jsonl", json.dumps(ROWS, indent=1)),
        ("t.jsonl", LINES.replace('"x"', '"x", "score": NaN, "top": -Infinity')),
        ("t.json", json.dumps(ROWS).replace('"x"', '"x", "score": NaN')),
        ("t.jsonl.gz", LINES),
        ("t.json.gz", json.dumps({"samples": ROWS})),
        ("t.csv.gz", "id,question,answer\na,q,x\nb,q,y\n"),
        ("t.TSV.gz", "id\tquestion\tanswer\na\tq\tx\nb\tq\ty\n"),
    ],
)
def test_files_are_read_for_what_is_in_them(tmp_path: Path, name: str, content: str) -> None:
    data = content.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    samples = NativeSource(tmp_path / name).load()
    assert [(sample.id, sample.answer) for sample in samples] == [("a", "x"), ("b", "y")]
    assert "score" not in samples[0].metadata


def test_one_record_in_a_json_file(tmp_path: Path) -> None:
    assert load(tmp_path / "t.json", json.dumps(ROWS[0]))[0].id == "a"
    with pytest.raises(ConfigurationError, match="neither a list of samples"):
        load(tmp_path / "u.json", json.dumps({"questions": ROWS}))


def test_what_is_broken_is_said_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"t\.jsonl:2: not a line of JSON"):
        load(tmp_path / "t.jsonl", LINES.splitlines()[0] + '\n{"a": NaN, }\n')
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(LINES.encode())[:-12])
    with pytest.raises(ConfigurationError, match=r"t\.jsonl\.gz: can't be read"):
        NativeSource(tmp_path / "t.jsonl.gz").load()
    (tmp_path / "u.jsonl.gz").write_text(LINES)
    with pytest.raises(ConfigurationError, match=r"u\.jsonl\.gz: can't be read"):
        NativeSource(tmp_path / "u.jsonl.gz").load()


@pytest.mark.parametrize("name", ["[one.jsonl, two.jsonl]", "part-*.jsonl", "shards", "shards/part-*.jsonl"])
def test_several_files_are_one_benchmark(tmp_path: Path, name: str) -> None:
    (tmp_path / "shards").mkdir()
    rows = [json.dumps({"question": f"q{number}", "answer": "x"}) + "\n" for number in range(3)]
    for folder in (tmp_path, tmp_path / "shards"):
        for number, row in zip((1, 2, 10), rows, strict=True):
            (folder / f"part-{number}.jsonl").write_text(row)
    (tmp_path / "one.jsonl").write_text(rows[0])
    (tmp_path / "two.jsonl").write_text("".join(rows[1:]))
    samples = task_samples(tmp_path, f"{{file: {name}}}")
    assert [(sample.id, sample.question) for sample in samples] == [("0", "q0"), ("1", "q1"), ("2", "q2")]


def test_shards_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no file matches part-\*\.jsonl"):
        task_samples(tmp_path, "{file: part-*.jsonl}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="a folder without a data file"):
        task_samples(tmp_path, "{file: empty}")
    (tmp_path / "test-00000-of-00002.jsonl").write_text(LINES)
    with pytest.raises(ConfigurationError, match="are missing"):
        task_samples(tmp_path, "{file: test-*.jsonl}")


def test_a_value_that_no_row_has_lists_those_that_there_are(tmp_path: Path) -> None:
    rows = [{"question": "q", "level": level, "kind": "x"} for level in ("easy", "easy", "hard")]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for where, told in (
        ("level: hrad", "no row has 'hrad'; did you mean 'hard'? (there are: 'easy' (2), 'hard' (1))"),
        (
            "level: hard, kind: y",
            "source.where.kind: no row has 'y' (there are: 'x' (1)), of the rows with level=hard",
        ),
    ):
        assert task_samples(tmp_path, f"{{file: d.jsonl, where: {{{where}}}}}") == []
        checked = CliRunner().invoke(app, ["tasks", "check", str(tmp_path / "t.yaml")])
        assert told in checked.output
        ran = CliRunner().invoke(app, ["run", "--model", "demo", "--tasks", str(tmp_path / "t.yaml")])
        assert ran.exit_code == 2
        assert told in ran.stderr


def test_a_template_that_fails_on_every_sample_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text("".join(f'{{"id": "s{n}", "question": "q"}}\n' for n in range(5)))
    (tmp_path / "t.yaml").write_text(
        'name: t\nsource: {file: d.jsonl}\nmetric: exact_match\nprompt: {template: "{{ metadata.k }}"}\n'
    )
    told = CliRunner().invoke(app, ["tasks", "check", str(tmp_path / "t.yaml")]).output
    assert "5 prompts that can't be rendered: sample s0 (and 4 more): prompt default" in told


# -- tables and list texts


def test_cells_that_pandas_reads(tmp_path: Path) -> None:
    tsv = 'index\tquestion\tanswer\n1\t"Stop" sign\tx\n2\tsay "hi" there\ty\n3\t"a ""b"" c"\tz\n'
    (tmp_path / "t.tsv").write_text(tsv)
    samples = task_samples(tmp_path, "{tsv: t.tsv}")
    assert [sample.question for sample in samples] == ["Stop sign", 'say "hi" there', 'a "b" c']
    with pytest.raises(ConfigurationError, match=r"u\.csv:2: unexpected end of data: a quote"):
        load(tmp_path / "u.csv", 'question,answer\n"Stop sign,x\nq,y\n')


def test_an_image_by_way_of_another_row(tmp_path: Path) -> None:
    image = "iVBORw0KGgo" + "A" * 80 + "="
    rows = [f"1\tq\t{image}", "2\tq\t1", "3\tq\t2"]
    (tmp_path / "t.tsv").write_text("index\tquestion\timage\n" + "\n".join(rows) + "\n")
    first, second, third = task_samples(tmp_path, "{tsv: t.tsv}")
    assert first.images == second.images == third.images
    (tmp_path / "t.tsv").write_text("index\tquestion\timage\n1\tq\t2\n2\tq\t1\n")
    with pytest.raises(ConfigurationError, match="neither base64 nor the index"):
        task_samples(tmp_path, "{tsv: t.tsv}")


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("['a' 'b c']", ["a", "b c"]),
        ("[\"it's\" 'b']", ["it's", "b"]),
        ("['a'\n 'b']", ["a", "b"]),
        ("array(['a', 'b'], dtype=object)", ["a", "b"]),
        ("array(['a',\n       'b'], dtype='<U1')", ["a", "b"]),
        ("('a', 'b')", ["a", "b"]),
        ("('a',)", ["a"]),
        ("[1 2 3]", [1, 2, 3]),
        ("[1. 2.5]", [1, 2.5]),
    ],
)
def test_lists_as_numpy_and_python_print_them(text: str, items: list[object]) -> None:
    assert parse_list(text) == items


def test_what_is_no_list_stays_a_text() -> None:
    assert not looks_like_list("(3, 4)")
    assert not looks_like_list("(a) and (b)")


# -- tasks of a file


def test_one_task_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.jsonl").write_text(LINES)
    (tmp_path / "two.yaml").write_text(
        "source: {file: d.jsonl}\nmetric: exact_match\ntasks: [{name: a}, {name: b}]\n"
    )
    assert [task.name for task in load_tasks(["two.yaml:b"])] == ["b"]
    with pytest.raises(ConfigurationError, match=r"two\.yaml has no task 'c' \(there are: a, b\)"):
        load_tasks(["two.yaml:c"])
    assert absolute_name("two.yaml:b") == f"{tmp_path}/two.yaml:b"
    assert absolute_name("digits") == "digits"
    with pytest.raises(ConfigurationError, match=r"did you mean the file \./two\.yaml\?"):
        load_tasks(["two"])
