"""From the columns of other people's files to samples: paths, templates, lists in texts, answers, joins, parts.

Guards against `eval` on dataset strings, letters that shift, and rows that are joined with somebody else's answer.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from muster.core import ConfigurationError, Sample
from muster.tasks.sources.answer_letter import as_letters
from muster.tasks.sources.list_text import parse_list
from muster.tasks.sources.protocol import KINDS
from muster.tasks.sources.references import parse_reference
from muster.tasks.task_file import load_task_file


def load(folder: Path, source: str, **files: object) -> list[Sample]:
    """The samples of a task with this `source:`; files by name with `_` for the dot."""
    for name, content in files.items():
        file = folder / name.replace("_", ".", 1)
        if isinstance(content, list) and file.suffix == ".jsonl":
            file.write_text("".join(json.dumps(row) + "\n" for row in content))
        else:
            file.write_text(content if isinstance(content, str) else json.dumps(content))
    indented = "".join(f"  {line}\n" for line in source.strip("\n").splitlines())
    (folder / "t.yaml").write_text(f"name: t\nmetric: exact_match\nsource:\n{indented}")
    [task] = load_task_file(folder / "t.yaml")
    return list(task.source.load())


def failure(folder: Path, source: str, **files: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, source, **files)
    return str(caught.value).replace(f"{folder}/", "")


# --- lists in texts -----------------------------------------------------------------------------------------------

items = st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=6)


@given(items)
def test_what_python_and_json_print_is_read_back(texts: list[str]) -> None:
    assert parse_list(repr(texts)) == texts
    assert parse_list(json.dumps(texts)) == texts


@given(st.text(alphabet="[]',\"\\ ab1(){}.", max_size=40))
def test_any_text_is_a_list_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert isinstance(parse_list(text), list)


def test_lists_as_datasets_have_them() -> None:
    assert parse_list("['$6$', \"it's\", '<image 1>', 'a\\nb']") == ["$6$", "it's", "<image 1>", "a\nb"]
    assert parse_list("[0.5, 12, None]") == ["0.5", "12", None]
    assert parse_list("['None', nan, 'b']") == ["None", None, "b"]
    assert parse_list('[[1, 2], {"a": 3}]') == [[1, 2], {"a": 3}]
    for code in (
        "[__import__('os').system('x')]",
        "['a' + 'b']",
        "[f'x']",
        "['a'",
        "[open('x')]",
    ):
        with pytest.raises(ValueError, match="is not a list"):
            parse_list(code)


def test_a_long_list_takes_no_time() -> None:
    assert len(parse_list("[" + "'x', " * 100_000 + "'y']")) == 100_001
    with pytest.raises(ValueError, match="can't be read"):
        parse_list("['" + "a\\'" * 200_000 + "]")


# --- references ---------------------------------------------------------------------------------------------------

CELLS = {
    "a": {"b": [1, 2, 3]},
    "l2-category": "x",
    "dotted.name": "literal",
    "turns": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "w"}],
    "none": None,
    "hint": "",
}


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("a", {"b": [1, 2, 3]}),
        ("a.b", [1, 2, 3]),
        ("a.b[2]", 3),
        ("a.b[7]", None),
        ("a.c", None),
        ("none.x[3].y", None),
        ("turns[1].value", "w"),
        ("turns[*].value", ["q", "w"]),
        ("l2-category", "x"),
        ("dotted.name", "literal"),
        ("{{ row['l2-category'] }}-{{ a.b[0] }}", "x-1"),
        ("{% if hint %}{{ hint }}: {% endif %}{{ turns[0].value }}", "q"),
        ("{{ hint }}", None),
    ],
)
def test_references(reference: str, value: object) -> None:
    assert parse_reference(reference).value(CELLS) == value


def test_references_that_lead_nowhere() -> None:
    for reference in ("turns.value", "a[0]", "l2-category.x[0]"):
        with pytest.raises(ValueError, match="is no"):
            parse_reference(reference).value(CELLS)
    with pytest.raises(ValueError, match="'nope' is undefined"):
        parse_reference("{{ nope }}").value(CELLS)
    with pytest.raises(ValueError, match="template"):
        parse_reference("{{ a").value(CELLS)
    with pytest.raises(ValueError, match="can't be rendered"):
        parse_reference("{{ a.__class__.__mro__ }}").value(CELLS)


# --- answers ------------------------------------------------------------------------------------------------------


def test_answers_become_letters(tmp_path: Path) -> None:
    choices = ["red", "blue", "C"]
    assert [as_letters(text, choices, "letter") for text in ("b", "(B)", "B.", "C")] == ["B", "B", "B", "C"]
    assert [as_letters(text, choices, "index") for text in ("0", "2")] == ["A", "C"]
    assert [as_letters(text, choices, "number") for text in ("1", "3")] == ["A", "C"]
    assert as_letters("C", choices, "text") == "C"
    assert as_letters("blue", choices, "text") == "B"
    for text, form in (("D", "letter"), ("3", "index"), ("0", "number"), ("-1", "index"), ("bleu", "text")):
        with pytest.raises(ValueError, match="is n"):
            as_letters(text, choices, form)  # type: ignore[arg-type]


def test_answers_of_every_form_in_a_task(tmp_path: Path) -> None:
    row = {"q": "q", "options": "['red', 'blue']", "n": 1, "s": "blue", "flag": True, "label": 0}
    base = "file: d.jsonl\nfields: {question: q, choices: options, answer: {column: %s}}"
    for rule in (
        "n, given_as: index",
        "s, given_as: text",
        "label, labels: [B, A]",
        "flag, labels: {'true': B}",
    ):
        [sample] = load(tmp_path, base % rule, d_jsonl=[row])
        assert (sample.choices, sample.answers) == (("red", "blue"), ("B",)), rule
    message = failure(tmp_path, base % "label, labels: {'1': A}", d_jsonl=[row])
    assert message.startswith("d.jsonl:1: label: 0 has no label (there are: 1)")
    message = failure(tmp_path, base % "s, given_as: letters", d_jsonl=[row])
    assert "source.fields.answer: given_as: 'letters' is none of letter, index, number, text" in message
    message = failure(tmp_path, base % "n, given_as: text", d_jsonl=[row])
    assert message.startswith("d.jsonl:1: n: '1' is none of the choices")


# --- whole sources ------------------------------------------------------------------------------------------------


def test_internvl_conversations(tmp_path: Path) -> None:
    rows = [
        {
            "id": 3,
            "image": "a.png",
            "conversations": [
                {"from": "human", "value": "<image>\nWhat?"},
                {"from": "gpt", "value": "A cat."},
            ],
        }
    ]
    (tmp_path / "images").mkdir()
    [sample] = load(
        tmp_path,
        """
        file: d.jsonl
        media: images
        fields: {question: "conversations[0].value", answer: "conversations[1].value", metadata: {}}
        """,
        d_jsonl=rows,
    )
    assert (sample.question, sample.answers) == ("<image>\nWhat?", ("A cat.",))
    assert sample.images[0].path == str(tmp_path / "images" / "a.png")


COCO = {
    "images": [{"id": 5, "file_name": "5.jpg", "width": 9}, {"id": 6, "file_name": "6.jpg", "width": 8}],
    "annotations": [
        {"id": 1, "image_id": 6, "caption": "six"},
        {"id": 2, "image_id": 5, "caption": "five"},
        {"id": 3, "image_id": 6, "caption": "half a dozen"},
    ],
}
CAPTIONS = """
file: captions.json
records: images
join: {records: annotations, match: {id: image_id}, as: captions, many: true}
fields:
  question: {text: Describe the image.}
  image: file_name
  answers: captions[*].caption
  metadata: {width: width}
"""


def test_coco_captions(tmp_path: Path) -> None:
    five, six = load(tmp_path, CAPTIONS, captions_json=COCO)
    assert (five.id, five.question, five.answers) == ("5", "Describe the image.", ("five",))
    assert (six.answers, dict(six.metadata)) == (("six", "half a dozen"), {"width": 8})
    without = {**COCO, "annotations": COCO["annotations"][:1]}
    message = failure(tmp_path, CAPTIONS, captions_json=without)
    told = "captions.json: images 0 (from 0): source.join (captions): nothing in captions.json, list annotations has"
    assert message == f"{told} image_id 5"
    kept = load(tmp_path, CAPTIONS.replace("many: true", "many: true, optional: true"), captions_json=without)
    assert [sample.answers for sample in kept] == [(), ("six",)]


def test_vqa_questions_and_annotations_in_two_files(tmp_path: Path) -> None:
    questions = {
        "questions": [{"image_id": 42, "question": "how many?", "question_id": i} for i in (420, 421)]
    }
    notes = [
        {
            "question_id": i,
            "answer_type": "number",
            "answers": [{"answer": str(i), "answer_id": k} for k in (1, 2)],
        }
        for i in (421, 420)
    ]
    source = """
    file: q.json
    records: questions
    media: val2014
    join: {file: a.json, records: annotations, match: {question_id: question_id}, as: truth}
    fields:
      id: question_id
      image: "COCO_val2014_{{ '%012d' % image_id }}.jpg"
      answers: truth.answers[*].answer
      metadata: {answer_type: truth.answer_type}
    """
    (tmp_path / "val2014").mkdir()
    first, second = load(tmp_path, source, q_json=questions, a_json={"annotations": notes})
    assert [first.answers, second.answers] == [("420", "420"), ("421", "421")]
    assert first.images[0].path == str(tmp_path / "val2014" / "COCO_val2014_000000000042.jpg")
    message = failure(tmp_path, source, q_json=questions, a_json={"annotations": [*notes, notes[0]]})
    assert "source.join (truth): question_id 421 is there twice; say `many: true`" in message
    message = failure(
        tmp_path,
        source.replace("{question_id: ", "{question: "),
        q_json=questions,
        a_json={"annotations": notes},
    )
    assert "nothing in a.json, list annotations has question_id 'how many?'" in message
    message = failure(
        tmp_path,
        source.replace("records: annotations", "records: annotation"),
        q_json=questions,
        a_json={"annotations": notes},
    )
    assert (
        message
        == "a.json: not an object with a list named 'annotation'; it has annotations; did you mean 'annotations'?"
    )


def test_rows_that_hold_several_questions(tmp_path: Path) -> None:
    source = "file: d.jsonl\nexplode: [ask, say]\nfields: {id: null, question: ask, answer: say}"
    rows = [{"ask": ["a", "b"], "say": ["1", "2"], "id": "x"}, {"ask": ["c"], "say": ["3"], "id": "y"}]
    samples = load(tmp_path, source, d_jsonl=rows)
    assert [(s.id, s.question, s.answers) for s in samples] == [
        ("0-0", "a", ("1",)),
        ("0-1", "b", ("2",)),
        ("1-0", "c", ("3",)),
    ]
    message = failure(tmp_path, source, d_jsonl=[{"ask": ["a"], "say": ["1", "2"]}])
    assert message == "d.jsonl:1: source.explode: lists of unequal length (ask: 1, say: 2)"
    message = failure(tmp_path, source.replace("[ask, say]", "asks"), d_jsonl=rows)
    assert message == "d.jsonl:1: source.explode: no column 'asks'; did you mean 'ask'?"


def test_ids_of_several_columns_and_several_images(tmp_path: Path) -> None:
    source = """
    file: d.jsonl
    fields: {id: "{{ video }}-{{ n }}", question: q, images: [image_1, image_2, image_3], video: null}
    """
    rows = [{"video": "v", "n": 2, "q": "q", "image_1": "a.png", "image_2": None, "image_3": "c.png"}]
    [sample] = load(tmp_path, source, d_jsonl=rows)
    assert (sample.id, [Path(str(media.path)).name for media in sample.images]) == ("v-2", ["a.png", "c.png"])
    assert sample.videos == ()
    assert sample.metadata["video"] == "v"


def test_columns_that_are_not_there_are_named_with_near_matches(tmp_path: Path) -> None:
    rows = [{"id": 1, "question": "q", "info": {"x": 1}}]
    message = failure(
        tmp_path,
        "file: d.jsonl\nwhere: {splt: a}\nfields: {answer: answr.text, id: '{{ qid }}', metadata: {a: info.y}}",
        d_jsonl=rows,
    )
    assert "d.jsonl: source.fields.answer: no row has 'answr'" in message
    assert "d.jsonl: source.fields.id: no row has 'qid'; did you mean 'id'?" in message
    assert "d.jsonl: source.where.splt: no row has 'splt'" in message


def test_a_folder_of_classes_and_one_of_texts(tmp_path: Path) -> None:
    for name in ("cats/1.png", "cats/2.JPG", "dogs/1.png", "dogs/notes.md", "dogs/.hidden.png"):
        (tmp_path / "classes" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "classes" / name).write_bytes(b"x")
    samples = load(
        tmp_path,
        """
        folder: classes
        fields: {question: {text: "Which animal?"}, choices: labels, answer: {column: label, given_as: text}}
        """,
    )
    assert [(s.id, s.answers) for s in samples] == [
        ("cats/1.png", ("A",)),
        ("cats/2.JPG", ("A",)),
        ("dogs/1.png", ("B",)),
    ]
    assert samples[0].choices == ("cats", "dogs")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "1.png").write_bytes(b"x")
    (tmp_path / "texts" / "1.txt").write_text("a cat\n")
    [sample] = load(tmp_path, "folder: texts\nfields: {question: {text: Caption it.}, answer: text}")
    assert sample.answers == ("a cat",)


def test_downloaded_data_cannot_point_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_DATA", str(tmp_path / "root"))
    (tmp_path / "root" / "d").mkdir(parents=True)
    (tmp_path / "root" / "d" / "d.jsonl").write_text('{"question": "q", "image": "/etc/passwd"}\n')
    message = failure(tmp_path, "data: d\nfile: d.jsonl")
    assert "d.jsonl:1: image: '/etc/passwd' leads out of the data's folder" in message


def test_arrow_files_of_the_datasets_library(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{"question": "q", "image": {"bytes": b"png", "path": None}, "answer": "x"}])
    for name, create in (("s", pa.ipc.new_stream), ("f", pa.ipc.new_file)):
        with (tmp_path / f"{name}.arrow").open("wb") as file, create(file, table.schema) as writer:
            writer.write_table(table)
        [sample] = load(tmp_path, f"file: {name}.arrow")
        assert sample.images[0].data == b"png"
    (tmp_path / "no.arrow").write_bytes(b"nothing of the kind")
    assert failure(tmp_path, "file: no.arrow").startswith("no.arrow: not an Arrow file")


def test_a_parquet_of_images_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from muster.tasks.sources import pack

    monkeypatch.setenv("MUSTER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pack, "PACK_ABOVE", 1000)
    rows = [
        {"question": "q", "images": [{"bytes": bytes([i]) * 900, "path": "x"}], "thumb": b"unused"}
        for i in range(3)
    ]
    pq.write_table(pa.Table.from_pylist([*rows, rows[0]]), tmp_path / "d.parquet")
    samples = load(tmp_path, "file: d.parquet")
    extents = [media.extent for sample in samples for media in sample.images]
    assert [extent.offset for extent in extents if extent] == [0, 900, 1800, 0], "each content once"
    [media] = (tmp_path / "cache").rglob("media.bin")
    assert media.stat().st_size == 2700, "without the column that the task doesn't use"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{}", f"source: give one of {', '.join(KINDS)}; it has none of them"),
        (
            "{file: a.json, tsv: b.tsv}",
            f"source: give one of {', '.join(KINDS)}; it has file and tsv",
        ),
        ("{huggingface: {dataset: a/b}}", "source.huggingface.split: missing"),
        (
            "{huggingface: {dataset: ../b, split: x}}",
            "source.huggingface.dataset: '../b' is no dataset's id",
        ),
        (
            "{huggingface: {dataset: a/b, splits: x}}",
            "source.huggingface.splits: unknown key; did you mean 'split'?",
        ),
        ("{file: a.json, downloads: [{url: 'http://h/a.json'}]}", "source.downloads: say with `data: NAME`"),
        ("{file: a.json, data: ../x}", "source.data: '../x' must be a path below the data's folder"),
        (
            "{file: a.json, data: x, downloads: [{url: 'file:///a'}]}",
            "source.downloads[0].url: 'file:///a' is no http",
        ),
        (
            "{file: a.json, data: x, downloads: [{url: 'http://h/a', md5: '12'}]}",
            "source.downloads[0].md5: '12' is not 32 hexadecimal digits",
        ),
        ("{file: a.json, join: {records: x, as: y}}", "source.join[0].match: missing"),
        (
            "{file: a.json, fields: {answer: {colum: x}}}",
            "source.fields.answer: unknown key 'colum'; did you mean 'column'",
        ),
        ("{file: a.json, fields: {id: '{{ x'}}", "source.fields.id: line 1 of the template:"),
        ("{tsv: a.tsv, records: x}", "source.records: is for `file`"),
    ],
)
def test_mistakes_in_the_source_are_told_by_line_and_key(tmp_path: Path, source: str, told: str) -> None:
    yaml.safe_load(source)
    (tmp_path / "t.yaml").write_text(f"name: t\nmetric: exact_match\nsource: {source}\n")
    with pytest.raises(ConfigurationError) as caught:
        load_task_file(tmp_path / "t.yaml")
    assert f"t.yaml:3: {told}" in str(caught.value)
