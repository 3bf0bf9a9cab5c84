"""The native sample format: what users' data files say must arrive whole, and mistakes must be found by line."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muster.core import JSON, ConfigurationError, Media, Sample
from muster.media.gate import open_media
from muster.tasks.sources import pack
from muster.tasks.sources.native import NativeSource

PNG = b"\x89PNG\r\n\x1a\n not really"


def jsonl(file: Path, *records: object) -> Path:
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return file


def load(file: Path, **options: object) -> list[Sample]:
    return list(NativeSource(file, **options).load())  # type: ignore[arg-type]


def failure(file: Path, **options: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(file, **options)
    return str(caught.value).replace(str(file.parent) + "/", "")


# --- the same samples, whichever format -------------------------------------------------------------------------

text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
question = text.filter(lambda value: value.strip() != "")
medium = st.one_of(
    st.sampled_from(["img/1.png", "../above.jpg", "/abs/x.webp", "sp ace ü.png"]),
    st.binary(min_size=1, max_size=20).map(lambda b: f"data:image/png;base64,{base64.b64encode(b).decode()}"),
)
scalar = st.one_of(
    st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), text
)
values: st.SearchStrategy[JSON] = scalar | st.lists(scalar, min_size=1, max_size=3).map(
    lambda items: [*items]
)
metadata = st.dictionaries(text, values, max_size=3)


@st.composite
def records(draw: st.DrawFn) -> dict[str, JSON]:
    choices: list[JSON] = [*draw(st.lists(text, max_size=5))]
    letters = st.sampled_from("ABCDE"[: len(choices)]) if choices else text
    return {
        "question": draw(question),
        "images": [*draw(st.lists(medium, max_size=3))],
        "choices": choices,
        "answer": [*draw(st.lists(letters, max_size=3))],
        "metadata": dict(draw(metadata)),
    }


tables = st.lists(records(), max_size=6).flatmap(
    lambda rows: st.lists(text, min_size=len(rows), max_size=len(rows), unique=True).map(
        lambda ids: [{"id": name, **row} for name, row in zip(ids, rows, strict=True)]
    )
)


def expected(record: Mapping[str, JSON], folder: Path) -> Sample:
    def media(value: str) -> Media:
        if value.startswith("data:"):
            return Media("image", data=base64.b64decode(value.partition(",")[2]))
        return Media("image", path=str((folder / value).resolve()))

    def strings(name: str) -> tuple[str, ...]:
        value = record[name]
        assert isinstance(value, list)
        return tuple(map(str, value))

    given_metadata = record["metadata"]
    assert isinstance(given_metadata, dict)
    images = tuple(map(media, strings("images")))
    return Sample(
        id=str(record["id"]),
        question=str(record["question"]),
        images=images,
        choices=strings("choices"),
        answers=strings("answer"),
        metadata=given_metadata,
    )


def write_json(file: Path, rows: Sequence[Mapping[str, JSON]]) -> None:
    file.write_text(json.dumps(list(rows)), encoding="utf-8")


def write_json_object(file: Path, rows: Sequence[Mapping[str, JSON]]) -> None:
    file.write_text(json.dumps({"about": "x", "samples": list(rows)}, ensure_ascii=False), encoding="utf-8")


def write_jsonl(file: Path, rows: Sequence[Mapping[str, JSON]]) -> None:
    file.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n\n" for row in rows), encoding="utf-8", newline=""
    )


def write_delimited(file: Path, rows: Sequence[Mapping[str, JSON]]) -> None:
    header = ["id", "question", "images", "choices", "answer", "metadata"]
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, delimiter="\t" if file.suffix == ".tsv" else ",")
        writer.writerow(header)
        for row in rows:
            cells = (row[name] for name in header)
            writer.writerow([cell if isinstance(cell, str) else json.dumps(cell) for cell in cells])


def write_parquet(file: Path, rows: Sequence[Mapping[str, JSON]]) -> None:
    strings = pa.list_(pa.string())
    schema = pa.schema(
        [("id", pa.string()), ("question", pa.string()), ("metadata", pa.string())]
        + [(name, strings) for name in ("images", "choices", "answer")]
    )
    flat = [{**row, "metadata": json.dumps(row["metadata"])} for row in rows]
    pq.write_table(pa.Table.from_pylist(flat, schema=schema), file, row_group_size=2)


WRITERS: list[tuple[str, Callable[[Path, Sequence[Mapping[str, JSON]]], None]]] = [
    ("t.json", write_json),
    ("o.json", write_json_object),
    ("t.jsonl", write_jsonl),
    ("t.csv", write_delimited),
    ("t.tsv", write_delimited),
    ("t.parquet", write_parquet),
]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=tables)
def test_every_format_gives_the_same_samples(tmp_path: Path, rows: list[dict[str, JSON]]) -> None:
    folder = tmp_path.resolve()
    wanted = [expected({**row, "metadata": _without_blanks(row["metadata"])}, folder) for row in rows]
    for name, write in WRITERS:
        write(folder / name, rows)
        assert load(folder / name) == wanted, name


def _without_blanks(value: JSON) -> JSON:
    assert isinstance(value, dict)
    return {key: item for key, item in value.items() if item not in ("", None)}


def test_choices_as_letter_columns_with_unused_ones_empty(tmp_path: Path) -> None:
    file = tmp_path / "t.tsv"
    file.write_text(
        "question\tA\tB\tC\tanswer\tlevel\nq1\tone\ttwo\tthree\tC\teasy\nq2\tno\tyes\t\tB\thard\nq3\t\t\t\tfree\t\n"
    )
    three, two, none = load(file)
    assert (three.choices, three.answers, three.metadata) == (
        ("one", "two", "three"),
        ("C",),
        {"level": "easy"},
    )
    assert (two.choices, two.answers) == (("no", "yes"), ("B",))
    assert (none.choices, none.answers, none.metadata) == ((), ("free",), {})


def test_a_gap_in_letter_columns_shifts_no_letters(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("question,A,B,C,answer\nq,one,,three,C\n")
    [sample] = load(file)
    assert (sample.choices, sample.answers) == (("one", "", "three"), ("C",))


def test_csv_cells_keep_their_text(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes('\ufeffid,question,answer\r\n007,"a ""b"", c\nd",007\r\n'.encode())
    [sample] = load(file)
    assert (sample.id, sample.question, sample.answers) == ("007", 'a "b", c\nd', ("007",))


def test_numbers_become_texts_and_ids_default_to_the_row(tmp_path: Path) -> None:
    file = jsonl(
        tmp_path / "t.jsonl",
        {"question": "q", "answer": 3},
        {"question": "q", "answer": [2.5, "x"]},
        {"id": 17, "question": "q", "choices": [3, 8], "answer": "B"},
    )
    assert [(s.id, s.answers, s.choices) for s in load(file)] == [
        ("0", ("3",), ()),
        ("1", ("2.5", "x"), ()),
        ("17", ("B",), ("3", "8")),
    ]


def test_default_ids_count_rows_not_lines(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"question": "a"}\n\n\n{"question": "b"}\n{"question": "c"}')
    (tmp_path / "t.csv").write_text("question\na\n\nb\nc\n")
    for name in ("t.jsonl", "t.csv"):
        assert [sample.id for sample in load(tmp_path / name)] == ["0", "1", "2"]


def test_only_cells_of_text_formats_hold_lists_as_json(tmp_path: Path) -> None:
    """In JSON the answer "[3]" is that text; in CSV a list has no other way to stand in a cell."""
    (tmp_path / "t.csv").write_text('question,answer\nq,"[""x"", ""y""]"\nq,"[not json"\n')
    assert [sample.answers for sample in load(tmp_path / "t.csv")] == [("x", "y"), ("[not json",)]
    assert load(jsonl(tmp_path / "t.jsonl", {"question": "q", "answer": "[3]"}))[0].answers == ("[3]",)


def test_parquet_bytes_in_all_their_forms(tmp_path: Path) -> None:
    struct = {"bytes": PNG, "path": "ignored.png"}
    for name, value in {"plain": PNG, "struct": struct, "list": [PNG, PNG], "structs": [struct]}.items():
        file = tmp_path / f"{name}.parquet"
        column = "images" if isinstance(value, list) else "image"
        pq.write_table(pa.Table.from_pylist([{"question": "q", column: value, "thumbnail": PNG}]), file)
        [sample] = load(file)
        assert {media.data for media in sample.images} == {PNG}, name
        assert len(sample.images) == (2 if name == "list" else 1)
        assert sample.metadata == {}, "bytes can't be metadata: results are JSON"
    only_path = tmp_path / "path.parquet"
    pq.write_table(
        pa.Table.from_pylist([{"question": "q", "image": {"bytes": None, "path": "a.png"}}]), only_path
    )
    assert load(only_path)[0].images == (Media("image", path=str(tmp_path / "a.png")),)


@pytest.mark.parametrize("packed", [False, True])
def test_image_structs_of_one_field_and_lists_with_nulls(
    tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every writer stores a `path` beside the bytes, and lists of a fixed length are filled up with nulls."""
    if packed:
        monkeypatch.setattr(pack, "PACK_ABOVE", 0)
        monkeypatch.setenv("MUSTER_CACHE", str(tmp_path / "cache"))
    path = Media("image", path=str(tmp_path / "a.png"))
    cases: list[tuple[object, list[object]]] = [
        ({"bytes": PNG}, [PNG]),
        ({"path": "a.png"}, [path]),
        ([{"bytes": PNG}, None, {"bytes": PNG}], [PNG, PNG]),
        ([PNG, None], [PNG]),
        ([None, "a.png", ""], [path]),
        ([None, None], []),
        ([{"bytes": None, "path": None}, {"bytes": PNG, "path": None}], [PNG]),
        ({"bytes": None, "path": None}, []),
    ]
    for number, (value, wanted) in enumerate(cases):
        file = tmp_path / f"{number}.parquet"
        column = "images" if isinstance(value, list) else "image"
        row = {"question": "q", column: value}
        pq.write_table(pa.Table.from_pylist([row]), file)
        images = load(file)[0].images
        assert [each if each.path else open_media(each).read() for each in images] == wanted, value
    rows = jsonl(tmp_path / "t.jsonl", {"question": "q", "images": [None, "a.png"]})
    assert load(rows)[0].images == (path,)
    texts = tmp_path / "t.csv"
    texts.write_text('question,images\nq,"[null, ""a.png""]"\n')
    assert load(texts)[0].images == (path,)


def test_parquet_nulls_dates_and_numbers_that_pandas_made_nan(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    table = {
        "question": ["q", "r"],
        "score": pa.array([float("nan"), 1.5]),
        "when": pa.array([None, 0], pa.date32()),
        "kind": pa.array(["a", "b"]).dictionary_encode(),
        "answer": pa.array([None, 4]),
    }
    pq.write_table(pa.table(table), file)
    first, second = load(file)
    assert (first.metadata, first.answers) == ({"kind": "a"}, ())
    assert (second.metadata, second.answers) == ({"score": 1.5, "when": "1970-01-01", "kind": "b"}, ("4",))


def test_media_forms_in_text(tmp_path: Path) -> None:
    bare = base64.b64encode(PNG + b"x" * 60).decode()
    file = jsonl(
        tmp_path / "t.jsonl",
        {"question": "q", "image": "a/../b.png", "video": "v.mp4"},
        {"question": "q", "image": "data:image/svg+xml,%3Csvg%3E"},
        {"question": "q", "image": bare},
        {"question": "q", "image": "https://example.org/x.png"},
    )
    one, two, three, four = load(file, allow_urls=True)
    assert one.images == (Media("image", path=str(tmp_path / "b.png")),)
    assert one.videos == (Media("video", path=str(tmp_path / "v.mp4")),)
    assert two.images[0].data == b"<svg>"
    assert three.images[0].data == PNG + b"x" * 60
    assert four.images[0].url == "https://example.org/x.png"


def test_urls_are_only_fetched_where_the_task_says_so(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "t.jsonl", {"question": "q", "images": ["https://example.org/x.png"]})
    assert "t.jsonl:1: images: 'https://example.org/x.png' is a URL; write `allow_urls: true`" in failure(
        file
    )


# --- mistakes, by line and field ----------------------------------------------------------------------------------

MISTAKES: list[tuple[dict[str, object], str]] = [
    ({"answer": "x"}, "question: missing"),
    ({"question": ""}, "question: missing"),
    ({"question": " \n"}, "question: empty"),
    ({"question": 5}, "question: 5 is not a text"),
    ({"question": "q", "choices": "yes, no"}, "choices: 'yes, no' is not a list"),
    ({"question": "q", "choices": [True]}, "choices: true is not a text; put it in quotes"),
    ({"question": "q", "choices": ["a"] * 27}, "choices: 27 choices, but only 26 letters to name them"),
    ({"question": "q", "choices": ["x", "y"], "answer": "C"}, "answer: 'C' is not one of the letters A to B"),
    (
        {"question": "q", "choices": ["x", "y"], "answer": "y"},
        "answer: 'y' is not one of the letters A to B (the choice's text: say `answer: {column: ",
    ),
    ({"question": "q", "answer": True}, "answer: true is not a text; put it in quotes"),
    ({"question": "q", "answer": [{}]}, "answer: {} is neither a text nor a number"),
    ({"question": "q", "answer": "x", "answers": ["x"]}, "answer: given beside answers; leave one out"),
    ({"question": "q", "image": "a", "images": ["a"]}, "image: given beside images; leave one out"),
    ({"question": "q", "image": 5}, "image: 5 is neither a path, a data URI, a URL nor an image's bytes"),
    ({"question": "q", "video": 5}, "video: 5 is neither a path, a data URI, a URL nor a video's bytes"),
    ({"question": "q", "image": "data:image/png;base64,!"}, "image: '!' isn't base64"),
    ({"question": "q", "image": "s3://b/x.png"}, "image: 's3://b/x.png': only http and https"),
    ({"question": "q", "metadata": ["x"]}, "metadata: ['x'] is not an object with text keys"),
    ({"question": "q", "id": 1.5}, "id: 1.5 is neither a text nor a whole number"),
]


@pytest.mark.parametrize(("record", "message"), MISTAKES)
def test_a_mistake_is_told_with_line_and_field(
    tmp_path: Path, record: dict[str, object], message: str
) -> None:
    file = jsonl(tmp_path / "t.jsonl", {"question": "fine"}, record)
    assert failure(file).startswith(f"t.jsonl:2: {message}")


def test_all_mistakes_of_a_file_come_in_one_message(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "t.jsonl", *({"question": "q", "id": "same"} for _ in range(3)), {})
    assert failure(file).splitlines() == [
        "t.jsonl:2: id: 'same' is already the id of t.jsonl:1; ids must be unique",
        "t.jsonl:3: id: 'same' is already the id of t.jsonl:1; ids must be unique",
        "t.jsonl:4: question: missing",
    ]


def test_an_endless_list_of_mistakes_is_cut(tmp_path: Path) -> None:
    message = failure(jsonl(tmp_path / "t.jsonl", *({} for _ in range(500))))
    assert message.endswith("… and 480 more problems of this kind")


def test_places_in_csv_after_a_cell_of_several_lines(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text('id,question\n1,"two\nlines"\n\n1,again\n')
    assert failure(file) == "t.csv:5: id: '1' is already the id of t.csv:2; ids must be unique"


def test_places_in_json_and_parquet_are_rows(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('[{"question": "q"}, {"question": null}]')
    pq.write_table(pa.table({"question": ["q", None]}), tmp_path / "t.parquet")
    assert failure(tmp_path / "t.json") == "t.json: row 1 (from 0): question: missing"
    assert failure(tmp_path / "t.parquet") == "t.parquet: row 1 (from 0): question: missing"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.jsonl", b'{"question": "q"}\n{"question": \n', "t.jsonl:2: not a line of JSON"),
        ("t.jsonl", b"[1]\n", "t.jsonl:1: not an object with the fields of a sample"),
        ("t.json", b'[\n{"question": "q"},\n{"a" 1}]', "t.json:3: not JSON"),
        (
            "t.json",
            b'{"rows": []}',
            "t.json: neither a list of samples nor an object with a list named 'samples'",
        ),
        ("t.json", b"[3]", "t.json: row 0 (from 0): not an object"),
        ("t.csv", b"question,id\nq\n", "t.csv:2: 1 cells where the header has 2"),
        ("t.csv", b"question\na,b\n", "t.csv:2: 2 cells where the header has 1"),
        ("t.csv", b'question\nfine\n"open\n', "t.csv:3: unexpected end of data"),
        ("t.csv", b"q,id,q\n", "t.csv:1: two columns are named 'q'"),
        ("t.csv", b"question\n\xff\n", "t.csv: not UTF-8 text"),
        ("t.parquet", b"PAR1 no", "t.parquet: not a parquet file that can be read"),
        ("t.xlsx", b"", "t.xlsx: unknown kind of data file 't.xlsx': its name ends in none of .arrow, .csv"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert failure(tmp_path / name).startswith(message)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    assert failure(tmp_path / "gone.csv") == "No such data file: gone.csv"
    with pytest.raises(ConfigurationError, match=r"No such data file: .*gone\.csv"):
        NativeSource(tmp_path / "gone.csv").revision()
    (tmp_path / "dir.csv").mkdir()
    assert failure(tmp_path / "dir.csv").startswith("dir.csv: can't be read")


@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "t.csv", "t.tsv"])
def test_an_empty_file_is_a_benchmark_without_samples(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert load(tmp_path / name, where={"x": 1}) == []


# --- where, fields, revision --------------------------------------------------------------------------------------


def test_where_keeps_rows_by_column_or_metadata_and_their_ids(tmp_path: Path) -> None:
    file = jsonl(
        tmp_path / "t.jsonl",
        {"question": "a", "level": 1, "metadata": {"split": "test"}},
        {"question": "b", "level": 2, "metadata": {"split": "test"}},
        {"question": "c", "level": 2, "metadata": {"split": "train"}},
        {"level": 3, "metadata": {"split": "broken, but not asked for"}},
    )
    assert [s.question for s in load(file, where={"split": "test"})] == ["a", "b"]
    assert [(s.question, s.id) for s in load(file, where={"split": "test", "level": 2})] == [("b", "1")]
    assert [s.question for s in load(file, where={"level": ["1", 2]})] == ["a", "b", "c"]
    assert load(file, where={"level": 9}) == []
    assert (
        NativeSource(file, where={"level": ["1", 2], "split": "test"}).description
        == "t.jsonl (level=1|2, split=test)"
    )


def test_where_finds_numbers_in_csv(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("question,level\na,1\nb,2\n")
    assert [s.question for s in load(tmp_path / "t.csv", where={"level": 2})] == ["b"]


def test_a_misspelt_column_is_not_an_empty_benchmark(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "t.jsonl", {"question": "a", "level": 1, "options": ["x", "y"]})
    assert failure(file, where={"levle": 1}).startswith(
        "t.jsonl: source.where.levle: no row has 'levle'; did you mean 'level'?"
    )
    assert "source.fields.choices: no row has 'optoins'" in failure(file, fields={"choices": "optoins"})
    assert "source.fields.choices: no row has 'c_a'" in failure(file, fields={"choices": ["c_a", "c_b"]})


def test_fields_rename_and_gather_columns(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("index,question,ask,p1,p2,a,b,right\n9,unused,What?,x.png,,one,two,B\n")
    names = {
        "id": "index",
        "question": "ask",
        "images": ["p1", "p2"],
        "choices": ["a", "b"],
        "answer": "right",
    }
    [sample] = load(file, fields=names)
    assert sample == Sample(
        id="9",
        question="What?",
        images=(Media("image", path=str(tmp_path / "x.png")),),
        choices=("one", "two"),
        answers=("B",),
        metadata={"question": "unused"},
    )


def test_a_mistake_in_a_renamed_column_has_its_own_name(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "t.jsonl", {"ask": "q"}, {"ask": 5})
    assert failure(file, fields={"question": "ask"}) == "t.jsonl:2: ask: 5 is not a text"


def test_the_revision_follows_content_and_rules_but_not_the_place(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "t.jsonl", {"question": "a", "level": 1})
    other = tmp_path / "elsewhere"
    other.mkdir()
    copy = jsonl(other / "t2.jsonl", {"question": "a", "level": 1})
    base = NativeSource(file).revision()
    assert base == NativeSource(copy).revision()
    different = {
        NativeSource(file, where={"level": 1}).revision(),
        NativeSource(file, fields={"question": "level"}).revision(),
        NativeSource(jsonl(file, {"question": "b", "level": 1})).revision(),
        base,
    }
    assert len(different) == 4


def test_a_relative_file_survives_a_change_of_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jsonl(tmp_path / "t.jsonl", {"question": "q", "image": "i.png"})
    monkeypatch.chdir(tmp_path)
    source = NativeSource(Path("t.jsonl"))
    monkeypatch.chdir("/")
    assert source.load()[0].images[0].path == str(tmp_path / "i.png")
