"""The main job as users type it: a real model, real images, real processes, and the same score everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

import muster
from processes import Run, holds_the_model, run_muster, start, torchrun
from tiny_models import build_llava

DIGITS = ["--model", "demo", "--tasks", "digits", "--limit", "40", "--progress", "plain"]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
pytestmark = pytest.mark.slow


def muster_command(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "150", **(env or {})}
    return run_muster(
        *arguments, heavy=arguments[0] == "run" and holds_the_model(arguments[1:]), env=variables
    )


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = start(tmp_path_factory.mktemp("one") / "run", *DIGITS)
    assert run.wait() == 0, run.stderr
    return run


@pytest.mark.parametrize(
    ("launcher", "options"),
    [
        ([], ["--replicas", "2", "--schedule", "contiguous", "--batch-size", "3"]),
        (torchrun(2), ["--schedule", "strided", "--collect", "gather"]),
        (ACCELERATE, []),
    ],
    ids=["local-contiguous", "torchrun-gather", "accelerate"],
)
def test_the_same_score_everywhere(one: Run, tmp_path: Path, launcher: list[str], options: list[str]) -> None:
    run = start(tmp_path / "run", *DIGITS, *options, launcher=launcher)
    assert run.wait() == 0, run.stderr
    assert run.results().tasks == one.results().tasks
    ours, theirs = (
        pq.read_table(each.output / "samples.parquet").drop_columns(["seconds", "worker"])
        for each in (run, one)
    )
    assert ours.equals(theirs)


def test_the_demo_model_reads_digits(one: Run) -> None:
    tasks = one.results().tasks
    assert set(tasks) == {"digits_read", "digits_choice", "digits_yesno", "digits_compare", "digits_hard"}
    accuracy = tasks["digits_read"].metrics["accuracy"]
    assert accuracy.value is not None
    assert accuracy.value > 0.9
    assert accuracy.ci95 is not None
    assert {"accuracy", "accuracy_plus", "score"} <= set(tasks["digits_yesno"].metrics)
    assert set(tasks["digits_hard"].by["category"]) == {"noise", "shift", "occlusion"}


@pytest.mark.parametrize("options", [[], ["--engine", "local"]], ids=["inline", "local"])
def test_batches_that_are_static_are_said_to_be(tmp_path: Path, options: list[str]) -> None:
    """Twice the time on a GPU, and nobody knew: on the terminal, in the log, the manifest and the results."""
    run = start(tmp_path / "run", *DIGITS, *options, "--model-args", "batching=static")
    assert run.wait() == 0, run.stderr
    why = "static (--model-args batching=static)"
    assert run.stderr.count(f"batching: {why}") == 1
    assert any(f"batching: {why}" in log.read_text() for log in (run.output / "logs").iterdir())
    manifest = json.loads((run.output / "manifest.json").read_text())
    assert manifest["attempts"][-1]["notes"] == {"batching": why}
    again = start(tmp_path / "run", *DIGITS, *options, "--model-args", "batching=static")  # loads nothing
    assert again.wait() == 0, again.stderr
    layout = again.results().layout
    assert layout is not None
    assert layout.notes == {"batching": why}


def test_scoring_again_gives_the_same_bytes(one: Run) -> None:
    before = (one.output / "results.json").read_bytes()
    (one.output / "samples.parquet").unlink()
    again = muster_command("score", str(one.output), "--json")
    assert again.returncode == 0, again.stderr
    assert (one.output / "results.json").read_bytes() == before
    assert json.loads(again.stdout) == json.loads(before)
    assert (one.output / "samples.parquet").exists()


def test_status_and_tasks(one: Run) -> None:
    status = muster_command("status", str(one.output))
    assert "complete, 200/200 finished" in status.stdout
    shown = muster_command("tasks", "digits_yesno")
    assert "mme, scoring variant" in shown.stdout
    assert "points" in shown.stdout


def test_predictions_made_elsewhere(one: Run, tmp_path: Path) -> None:
    rows = pq.read_table(one.output / "samples.parquet").to_pylist()
    predictions = tmp_path / "p.jsonl"
    chosen = [row for row in rows if row["task"] == "digits_choice"]
    predictions.write_text(
        "".join(json.dumps({"id": row["id"], "prediction": row["prediction"]}) + "\n" for row in chosen)
    )
    scored = muster_command("score", "--task", "digits_choice", "--predictions", str(predictions), "--json")
    assert scored.returncode == 0, scored.stderr
    task = json.loads(scored.stdout)["tasks"]["digits_choice"]
    assert task["samples"]["succeeded"] == 40
    assert (
        task["metrics"]["accuracy"]["value"] == one.results().tasks["digits_choice"].metrics["accuracy"].value
    )
    unknown = tmp_path / "u.jsonl"
    unknown.write_text('{"id": "nobody", "prediction": "C"}\n')
    refused = muster_command("score", "--task", "digits_choice", "--predictions", str(unknown))
    assert refused.returncode == 2
    assert "nobody" in refused.stderr


def write_own_benchmark(folder: Path) -> Path:
    """Four images, one of which is broken and one of which is missing."""
    (folder / "img").mkdir(parents=True)
    rows = []
    for i, colour in enumerate(["red", "green", "blue", "white"]):
        Image.new("RGB", (20 + 4 * i, 24), colour).save(folder / "img" / f"{i}.png")
        rows.append(
            {
                "id": str(i),
                "question": "Which colour?",
                "image": f"img/{i}.png",
                "choices": ["red", "green"],
                "answer": "A",
            }
        )
    (folder / "img" / "2.png").write_bytes(b"\x89PNG not really")
    (folder / "img" / "3.png").unlink()
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "own.yaml").write_text(
        "name: own\nsource: {file: q.jsonl}\ngeneration: {max_new_tokens: 4}\nmetric: multiple_choice\n"
    )
    return folder / "own.yaml"


def test_ones_own_model_and_benchmark_with_broken_images(tmp_path: Path) -> None:
    model = tmp_path / "my-llava"
    build_llava(model)
    task = write_own_benchmark(tmp_path)
    options = ["--model", str(model), "--tasks", str(task), "--batch-size", "16", "--limit", "100"]
    run = start(tmp_path / "run", *options)
    assert run.wait() == 3, run.stderr  # two samples have no answer, none allowed
    results = run.results()
    assert results.complete
    assert results.tasks["own"].samples.succeeded == 2
    assert results.tasks["own"].samples.errors == {"sample": 2}
    failures = {
        r.completion.key.sample_id: r.completion.failure for r in run.journal() if r.completion.failure
    }
    assert set(failures) == {"2", "3"}
    tolerant = start(tmp_path / "tolerant", *options, "--max-failures", "0.5")
    assert tolerant.wait() == 0, tolerant.stderr
    for i in (2, 3):
        Image.new("RGB", (24, 24), "blue").save(tmp_path / "img" / f"{i}.png")
    mended = start(tmp_path / "run", *options)  # the same command again asks what failed, and nothing else
    assert mended.wait() == 0, mended.stderr
    assert "2 answers are there, 2 to go" in mended.stderr
    assert mended.results().tasks["own"].samples.succeeded == 4
    attempts = json.loads((run.output / "manifest.json").read_text())["attempts"]
    assert [attempt["exit_status"] for attempt in attempts] == [3, 0], (
        "where a launcher hides it, it stands here"
    )


def test_options_from_file_environment_and_command_line(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        f"model: demo\ntasks: [digits_read]\nlimit: 3\nbatch-size: 2\noutput: {tmp_path}/from-file\n"
    )
    env = {"MUSTER_LIMIT": "7", "MUSTER_PROGRESS": "none"}
    done = muster_command(
        "run", "--config", str(config), "--limit", "5", "--model_args", "dtype=float32", "--json", env=env
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tasks"]["digits_read"]["samples"]["requested"] == 5
    manifest = json.loads((tmp_path / "from-file" / "manifest.json").read_text())
    assert (manifest["config"]["limit"], manifest["config"]["batch_size"]) == (5, 2)
    assert manifest["config"]["model_args"] == {"dtype": "float32"}
    config.write_text("model: demo\ntasks: digits_read\nlimitt: 3\n")
    wrong = muster_command("run", "--config", str(config), env=env)
    assert wrong.returncode == 2
    assert "limitt" in wrong.stderr


def test_from_python(tmp_path: Path) -> None:
    results = muster.evaluate("demo", "digits_read", limit=10, output=tmp_path / "run")
    assert results.complete
    assert results.tasks["digits_read"].metrics["accuracy"].value is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "./nowhere", "--tasks", "digits"], "there is no such folder"),
        (["--model", "demo", "--tasks", "digitz"], "did you mean 'digits'"),
        (["--model", "demo", "--tasks", "digits", "--backend", "vlm"], "there is no backend 'vlm'"),
        (["--model", "demo"], "--tasks is required"),
        (["--model", "demo", "--tasks", "digits", "--limit", "-1"], "--limit"),
        (["--model", "demo", "--tasks", "digits", "--engine", "torchrun"], "no launcher set any ranks"),
        (["--model", "demo", "--tasks", "digits", "--sample-ids", "nobody"], "nobody"),
    ],
)
def test_wrong_usage_is_said_before_anything_starts(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    run = start(tmp_path / "run", *arguments)
    assert run.wait() == 2
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    run = start(tmp_path / "run", "--model", str(tmp_path / "empty"), "--tasks", "digits")
    assert run.wait() == 2
    assert "config.json" in run.stderr
