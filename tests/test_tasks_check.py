"""`muster tasks check` finds what would cost a night's run, and `muster tasks new` writes what passes it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from PIL import Image

from catalog_fixtures import picture
from muster.tasks.checking import check_task
from muster.tasks.registry import load_tasks
from processes import run_muster
from video_files import write_video


def muster(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_muster(*arguments, cwd=cwd)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("started")
    done = muster("tasks", "new", "my_shapes", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "muster tasks check my_shapes.yaml" in done.stdout
    return folder


def test_a_new_task_passes_its_check_and_runs(started: Path) -> None:
    done = muster("tasks", "check", "my_shapes.yaml", "--save-images", "out", cwd=started)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 samples" in done.stdout
    assert "2 of 2 reference answers score" in done.stdout
    assert "[user]\n[image 96×96]\nWhat is shown?\nA. a square\nB. a circle\n" in done.stdout
    with Image.open(started / "out" / "1-1.png") as image:
        assert image.size == (96, 96)
    again = muster("tasks", "new", "my_shapes.yaml", cwd=started)
    assert (again.returncode, "is there already" in again.stderr) == (2, True)
    assert muster("tasks", "new", "No Name", cwd=started).returncode == 2


def test_every_key_of_a_new_task_is_explained(started: Path) -> None:
    """A comment before or beside each, so that the file is a guide."""
    lines = (started / "my_shapes.yaml").read_text().splitlines()
    assert sum(line.lstrip().startswith("#") for line in lines) >= 15
    assert set(yaml.safe_load("\n".join(lines))) >= {
        "name",
        "version",
        "source",
        "prompt",
        "generation",
        "metric",
        "by",
    }


def test_the_list_and_one_task_work_as_before(started: Path) -> None:
    listed = muster("tasks", cwd=started)
    assert listed.returncode == 0
    assert "digits_read" in listed.stdout
    shown = muster("tasks", "my_shapes.yaml", cwd=started)
    assert shown.returncode == 0
    assert "step_by_step" in shown.stdout
    assert muster("tasks", "nonsense", cwd=started).returncode == 2


def write_task(folder: Path, rows: list[dict[str, object]], **keys: object) -> None:
    (folder / "a.png").write_bytes(picture("30x20 red"))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    (folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entry = {"name": "t", "source": {"file": "d.jsonl"}, "metric": "multiple_choice", **keys}
    (folder / "t.yaml").write_text(yaml.safe_dump(entry))


ROW = {"question": "q", "image": "a.png", "choices": ["x", "y"], "answer": "B", "kind": "k"}


@pytest.mark.parametrize(
    ("rows", "keys", "told"),
    [
        (
            [ROW, {**ROW, "image": "broken.png"}],
            {},
            "problem: 1 images or videos that can't be used: sample 1: image",
        ),
        ([ROW, {**ROW, "image": "gone.png"}], {}, "gone.png does not exist"),
        (
            [ROW],
            {"source": {"file": "d.jsonl", "rows": 2}},
            "problem: 1 samples, where the task file says `rows: 2`",
        ),
        ([ROW], {"by": ["knid"]}, "problem: no sample has the metadata 'knid'; did you mean 'kind'?"),
        (
            [ROW],
            {"prompt": {"template": "{{ metadata.k }}"}},
            "1 prompts that can't be rendered: sample 0: prompt default",
        ),
        (
            [ROW],
            {"prompt": {"variants": {"other": {"template": "<image 2> {{ question }}"}}}},
            "1 prompts that can't be rendered: sample 0: prompt other",
        ),
        ([ROW], {"source": {"file": "d.jsonl", "where": {"kind": "z"}}}, "problem: no samples"),
        (
            [ROW, {**ROW, "answer": "C"}],
            {},
            "problem: d.jsonl:2: answer: 'C' is not one of the letters A to B",
        ),
    ],
)
def test_problems_are_told_and_the_exit_code_is_2(
    tmp_path: Path, rows: list[dict[str, object]], keys: dict[str, object], told: str
) -> None:
    write_task(tmp_path, rows, **keys)
    from typer.testing import CliRunner

    from muster.cli.app import app

    done = CliRunner().invoke(app, ["tasks", "check", str(tmp_path / "t.yaml")])
    assert told in done.output.replace(f"{tmp_path}/", "")
    assert done.exit_code == 2
    assert done.output.endswith("not ok\n")


def test_what_may_be_meant_is_a_warning(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from muster.cli.app import app

    bare: dict[str, object] = {"question": "q", "choices": ["x", "y"]}
    rows: list[dict[str, object]] = [{**ROW}, bare]
    write_task(tmp_path, rows)
    done = CliRunner().invoke(app, ["tasks", "check", str(tmp_path / "t.yaml")])
    assert done.exit_code == 0, done.output
    assert "warning: 1 of 2 samples have neither image nor video" in done.output
    assert "warning: 1 of 2 samples have no reference answer" in done.output
    write_task(tmp_path, [{**ROW, "answer": "maybe", "choices": []}], metric="yes_no")
    done = CliRunner().invoke(app, ["tasks", "check", str(tmp_path / "t.yaml")])
    assert "warning: 1 samples whose reference yes_no can't use, left unscored: sample 0" in done.output
    assert "have no reference answer" not in done.output
    (tmp_path / "digits_only.py").write_text(
        "from muster.metrics.averages import mean_score\n"
        "from muster.metrics.protocol import MetricInfo, Score\n"
        "class DigitsOnly:\n"
        "    info = MetricInfo('digits', 'mine', 1, 'right', {'right': '0-1'}, {'right': 'right'})\n"
        "    def score(self, sample, prediction):\n"
        "        return Score({'right': float(prediction.isdigit() and prediction == sample.answer)})\n"
        "    def aggregate(self, rows):\n"
        "        return {'right': mean_score(rows, 'right')}\n"
    )
    write_task(
        tmp_path, [{**ROW, "answer": "four", "choices": []}], metric={"name": "./digits_only.py:DigitsOnly"}
    )
    done = CliRunner().invoke(app, ["tasks", "check", str(tmp_path / "t.yaml")])
    assert "warning: 1 reference answers that score nothing when a model gives them: sample 0" in done.output


def test_subtitles_that_are_to_be_shown_are_looked_at(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", frames=3)
    (tmp_path / "odd.srt").write_text("<html>")
    rows: list[dict[str, object]] = [
        {"id": name, "question": "?", "video": film.name, "subtitles": name, "answer": "x"}
        for name in ("odd.srt", "gone.srt")
    ]
    write_task(tmp_path, rows, metric="exact_match", video={"subtitles": "all"})
    [task] = load_tasks([str(tmp_path / "t.yaml")])
    report = check_task(task, None)
    assert "odd.srt: not SRT or WebVTT" in str(report.problems)
    assert "1 of 2 files of subtitles aren't there" in str(report.warnings)
    write_task(tmp_path, rows, metric="exact_match")
    [task] = load_tasks([str(tmp_path / "t.yaml")])
    report = check_task(task, None)
    assert report.passed
    assert "subtitles" not in str(report.warnings)


def test_text_only_questions_are_fine(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from muster.cli.app import app

    write_task(tmp_path, [{"question": "What is 1 + 1?", "answer": "2"}], metric="exact_match")
    done = CliRunner().invoke(app, ["tasks", "check", str(tmp_path / "t.yaml")])
    assert done.exit_code == 0, done.output
    assert "the questions are text only" in done.output
