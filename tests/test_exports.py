"""What leaves a run: tables, other tools' files, submissions, and `muster.load`.

Guards against files that the other tools can't read, against answers that change on the way (thoughts, quotes, control
characters, numbers as ids), and against imports that nobody asked for.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

import muster
from muster.cli.app import app
from muster.core import ConfigurationError, RequestKey
from muster.export.frames import frames_library
from muster.export.submission import benchmark_of
from muster.export.workbook import write_workbook
from muster.results.folder import RunFolder
from muster.results.journal import Journal
from muster.results.manifest import Manifest
from muster.results.prediction_files import read_predictions
from muster.tasks.registry import load_tasks
from muster.tasks.sources.mapped import MappedSource
from muster.tasks.splits import choose_splits
from processes import fake
from toy_task import answer, failure


def export(run: Path, *arguments: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["export", str(run), *map(str, arguments)])
    if done.exit_code != code and done.exception is not None:
        raise done.exception
    return done.output


ODD = 'some "quoted"\ttext,\nwith <b> & =1+1'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has been asked everything and scored, whose answers are then written by hand."""
    root = tmp_path_factory.mktemp("run")
    for number in range(3):
        Image.new("RGB", (40, 20 + number), (number, 0, 0)).save(root / f"{number}.png")
    rows: list[dict[str, Any]] = [
        {"id": "10", "question": "Which?", "choices": ["cat", "dog"], "answer": "B", "level": 1},
        {"id": "11", "question": "Which now?", "choices": ["x", "y", "z"], "answer": "C", "level": 2},
        {"id": "12", "question": ODD, "choices": ["p", "q"], "answer": "A", "level": 2},
    ]
    lines = [json.dumps(row | {"image": f"{number}.png"}) for number, row in enumerate(rows)]
    (root / "mc.jsonl").write_text("\n".join(lines))
    (root / "open.jsonl").write_text(json.dumps({"id": "7", "question": "What?", "answer": ["ab", "a b"]}))
    (root / "mc.yaml").write_text(
        "name: mmbench_mine\nsource: {file: mc.jsonl}\nmetric: multiple_choice\nby: [level]\n"
        "image: {max_pixels: 200}\n"
    )
    (root / "open.yaml").write_text("name: vqav2_mine\nsource: {file: open.jsonl}\nmetric: exact_match\n")
    tasks = [str(root / "mc.yaml"), str(root / "open.yaml")]
    options: dict[str, object] = {"backend": fake("Echo"), "engine": "inline", "name": "a/b c"}
    muster.evaluate("echo", tasks, output=root / "run", **options)
    folder = RunFolder(root / "run")
    manifest = Manifest.load(folder.manifest)
    folder.journal.unlink()
    with Journal.open(folder.journal, manifest.run) as journal:
        journal.append(answer(RequestKey("mmbench_mine", "10"), "<think>A?</think> B"))
        journal.append(answer(RequestKey("mmbench_mine", "11"), ODD + "\x07"))
        journal.append(failure(RequestKey("mmbench_mine", "12")))
        journal.append(answer(RequestKey("vqav2_mine", "7"), " a b\n"))
    done = CliRunner().invoke(app, ["score", str(folder.root)])
    assert done.exit_code == 0, done.output
    return folder.root


def test_tables_have_the_columns_of_the_samples(run: Path, tmp_path: Path) -> None:
    for form in ("parquet", "csv", "jsonl"):
        assert f"wrote {tmp_path / form}" in export(run, "--to", form, "--output", tmp_path / form)
    rows = pq.read_table(tmp_path / "parquet").to_pylist()
    assert [row["id"] for row in rows] == ["10", "11", "12", "7"]
    lines = [json.loads(line) for line in (tmp_path / "jsonl").read_text().splitlines()]
    assert [line["metadata"] for line in lines] == [{"level": 1}, {"level": 2}, {"level": 2}, {}]
    assert lines[0]["scores"]["accuracy"] == 1.0
    with (tmp_path / "csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["scores.accuracy"] for row in table] == ["1.0", "0.0", "", "1.0"]
    assert table[1]["prediction"] == ODD + "\x07"
    assert json.loads(table[0]["choices"]) == ["cat", "dog"]
    export(run, "--to", "parquet", "--task", "vqav2_mine", "--output", tmp_path / "one")
    assert pq.read_table(tmp_path / "one")["id"].to_pylist() == ["7"]


def test_lmms_evals_files(run: Path, tmp_path: Path) -> None:
    said = export(run, "--to", "lmms-eval", "--output", tmp_path)
    assert "1 requests have no answer" in said
    [results] = tmp_path.glob("a__b c/*_results.json")
    written = json.loads(results.read_text())
    assert written["results"]["mmbench_mine"]["accuracy,none"] == 0.5
    assert written["n-samples"]["mmbench_mine"] == {"original": 3, "effective": 3}
    date = results.name.removesuffix("_results.json")
    samples = results.with_name(f"{date}_samples_mmbench_mine.jsonl")
    first, second = [json.loads(line) for line in samples.read_text().splitlines()]
    assert (first["doc_id"], first["target"], first["filtered_resps"], first["score"]) == (0, "B", "B", 1.0)
    assert first["resps"] == ["<think>A?</think> B"]
    assert second["doc_id"] == 1
    planned = muster.load(run)._planned["mmbench_mine"][0]  # what it says of a file of lmms-eval's
    read = list(read_predictions(samples, planned.samples, "mmbench_mine"))
    assert [(entry.id, entry.text) for entry in read] == [("10", "B"), ("11", (ODD + "\x07").strip())]


@pytest.mark.parametrize("form", ["tsv", "xlsx"])
def test_vlmevalkits_files(run: Path, tmp_path: Path, form: str) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("python_calamine")
    export(run, "--to", "vlmevalkit", "--output", tmp_path, *(["--xlsx"] if form == "xlsx" else []))
    path = tmp_path / "a__b c" / f"a__b c_mmbench_mine.{form}"
    # As VLMEvalKit's `load` reads them (e8e78f05).
    table = pandas.read_csv(path, sep="\t") if form == "tsv" else pandas.read_excel(path, engine="calamine")
    assert list(table.columns) == ["index", "question", "A", "B", "C", "answer", "level", "prediction"]
    assert table["index"].tolist() == [10, 11]
    assert table["level"].tolist() == [1, 2]
    assert table["C"].isna().tolist() == [True, False]
    assert table["prediction"][0] == "<think>A?</think> B"
    assert table["prediction"][1].rstrip("\x07") == ODD
    several = path.with_name(f"a__b c_vqav2_mine.{form}")
    table = (
        pandas.read_csv(several, sep="\t") if form == "tsv" else pandas.read_excel(several, engine="calamine")
    )
    assert table["answer"][0] == "['ab', 'a b']"


def submission(run: Path, folder: Path, *arguments: str) -> Any:
    [wrote] = [
        line
        for line in export(run, "--to", "submission", "--output", folder, *arguments).splitlines()
        if "wrote" in line
    ]
    path = Path(wrote.removeprefix("wrote "))
    return json.loads(path.read_text()) if path.suffix == ".json" else path


def test_submissions_have_the_servers_forms(run: Path, tmp_path: Path) -> None:
    assert submission(run, tmp_path, "--task", "vqav2_mine") == [{"question_id": 7, "answer": "a b"}]
    for benchmark in ("docvqa", "infovqa"):
        given = submission(run, tmp_path, "--task", "vqav2_mine", "--benchmark", benchmark)
        assert given == [{"questionId": 7, "answer": "a b"}]
    asked = ("--task", "mmbench_mine", "--benchmark")
    assert submission(run, tmp_path, *asked, "mmmu") == {"10": "B", "11": (ODD + "\x07").strip(), "12": ""}
    assert submission(run, tmp_path, *asked, "vizwiz")[0] == {"image": "10.jpg", "answer": "B"}
    assert submission(run, tmp_path, *asked, "textvqa")[2] == {"question_id": 12, "answer": ""}
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("python_calamine")
    table = pandas.read_excel(submission(run, tmp_path, "--task", "mmbench_mine"), engine="calamine")
    assert {"index", "question", "A", "B", "C", "prediction"} <= set(table.columns)
    assert table["index"].tolist() == [10, 11, 12]
    said = export(run, "--to", "submission", "--task", "mmbench_mine", "--output", tmp_path)
    assert "1 of 3 questions have no answer" in said


def test_what_a_server_could_not_take_is_refused(run: Path, tmp_path: Path) -> None:
    def refused(message: str, *arguments: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            export(run, *arguments)

    refused("writes one task: say --task NAME", "--to", "submission")
    refused(r"no such form \(parquet, csv", "--to", "pickle")
    refused(
        r"--benchmark nobody: no such form.*docvqa",
        *("--to", "submission", "--task", "vqav2_mine", "--benchmark", "nobody"),
    )
    refused("the run has no such task", "--to", "csv", "--task", "mmbench")
    refused("--xlsx is for --to vlmevalkit", "--to", "csv", "--xlsx")
    with pytest.raises(ConfigurationError, match="is not a run folder"):
        export(tmp_path, "--to", "csv")


@pytest.mark.parametrize(
    ("task", "benchmark"),
    [
        *(
            ("docvqa", "docvqa"),
            ("docvqa_test", "docvqa"),
            ("MMMU-test", "mmmu"),
            ("infographicvqa_test", "infographicvqa"),
        ),
        *(("mmmu_pro_standard", None), ("mme", None), ("docvqamine", None)),
    ],
)
def test_a_benchmark_is_known_by_its_tasks_names(task: str, benchmark: str | None) -> None:
    assert benchmark_of(task) == benchmark


def test_a_run_as_data_frames(run: Path) -> None:
    loaded = muster.load(run, frames="pyarrow")
    assert (loaded.name, loaded.tasks) == ("a/b c", ("mmbench_mine", "vqav2_mine"))
    scores = [row for row in loaded.results.to_pylist() if row["metric"] == "accuracy"]
    found = [(row["task"], row["by"], row["category"], row["value"]) for row in scores]
    assert found == [
        *(("mmbench_mine", None, None, 0.5), ("vqav2_mine", None, None, 1.0)),
        *(("mmbench_mine", "level", "1", 1.0), ("mmbench_mine", "level", "2", 0.0)),
    ]
    assert loaded.samples["score"].to_pylist() == [1.0, 0.0, None, 1.0]
    assert loaded.samples["media"][0].as_py() == [str(run.parent / "0.png")]
    assert loaded.journal["error_kind"].to_pylist() == [None, None, "sample", None]
    pandas = pytest.importorskip("pandas")
    assert isinstance(muster.load(run, frames="pandas").samples, pandas.DataFrame)


def test_images_as_the_model_got_them(run: Path) -> None:
    loaded = muster.load(run, frames="pyarrow")
    image = loaded.image("11")
    assert image.mode == "RGB"
    assert image.width * image.height <= 200  # the task's max_pixels
    assert loaded.image(loaded.samples.to_pylist()[0]).getpixel((0, 0)) == (0, 0, 0)
    assert loaded.images("7", task="vqav2_mine") == []
    with pytest.raises(ConfigurationError, match="'7' has no image"):
        loaded.image(7)
    with pytest.raises(ConfigurationError, match="no sample '99'"):
        loaded.image("99")
    with pytest.raises(ConfigurationError, match="no task 'x'"):
        loaded.image("11", task="x")


def test_a_run_with_new_answers_is_scored_for_it_and_left_alone(run: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("results.json", "samples.parquet", "export"))
    before = sorted(path.name for path in copy.iterdir())
    export(copy, "--to", "csv", "--output", tmp_path / "t.csv")
    assert muster.load(copy, frames="pyarrow").samples.num_rows == 4
    assert sorted(path.name for path in copy.iterdir()) == before


def test_the_users_own_library_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def there(*names: str) -> Callable[[str], object]:
        return lambda name: object() if name in names else None

    monkeypatch.delitem(sys.modules, "polars", raising=False)
    for names, expected in (
        (("pandas", "polars"), "pandas"),
        (("polars",), "polars"),
        ((), "pyarrow"),
    ):
        monkeypatch.setattr("muster.export.frames.find_spec", there(*names, "pyarrow"))
        assert frames_library() == expected
    with pytest.raises(ConfigurationError, match="polars is not installed"):
        frames_library("polars")
    with pytest.raises(ConfigurationError, match="no such library"):
        frames_library("panda")
    monkeypatch.setitem(sys.modules, "polars", pa)
    monkeypatch.setattr("muster.export.frames.find_spec", there("pandas", "polars"))
    assert frames_library() == "polars"


def test_a_workbook_holds_what_a_cell_can(tmp_path: Path) -> None:
    calamine = pytest.importorskip("python_calamine")
    cells = ["=1+1", "", None, -3, 2.5, " <&> ", "\ud83d\x00é", "x" * 40_000]
    write_workbook(tmp_path / "w.xlsx", [str(number) for number in range(8)], [cells])
    read = calamine.CalamineWorkbook.from_path(tmp_path / "w.xlsx").get_sheet_by_index(0).to_python()
    assert read[1] == ["=1+1", "", "", -3, 2.5, " <&> ", "é", "x" * 32_767]


def test_another_split_of_a_task_is_read() -> None:
    docvqa, infovqa, digits = load_tasks(["docvqa", "infovqa", "digits_read"])
    test, other = choose_splits([docvqa, infovqa], ["docvqa=test"])
    assert ("split test" in test.source.description, "split validation" in other.source.description) == (
        True,
        True,
    )
    assert isinstance(test.source, MappedSource)
    assert test.source.expected_rows is None
    assert all("split test" in each.source.description for each in choose_splits([docvqa, infovqa], ["test"]))
    assert choose_splits([digits], []) == [digits]
    with pytest.raises(
        ConfigurationError, match=r"task digits_read reads .* only datasets of the Hugging Face hub"
    ):
        choose_splits([docvqa, digits], ["test"])
    with pytest.raises(ConfigurationError, match="--split mme=test: 'mme' isn't a task of this run"):
        choose_splits([docvqa], ["mme=test"])
