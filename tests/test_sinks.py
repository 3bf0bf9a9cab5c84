"""Finished runs in MLflow, Weights & Biases and TensorBoard.

Guards against a tracker that costs a run its exit code or its end, against secrets that are sent along, and against a
run that is sent twice and stands there twice. What is written is read back with the trackers' own libraries, where they
are installed (`.ci/sinks` makes such an environment); offline, without accounts.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from muster.cli.app import app
from muster.config import load_config
from muster.core import ConfigurationError, MissingExtraError
from muster.report.display import Silent
from muster.results.folder import RunFolder
from muster.run import run
from muster.sinks import sending
from muster.sinks.record import record_of
from muster.sinks.registry import parse_sinks
from processes import DEADLINE, fake, gone, write_benchmark

OFFLINE = {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


def options(tmp_path: Path, **more: object) -> dict[str, object]:
    task = write_benchmark(tmp_path, 4)
    return {
        "model": "m",
        "name": "step 30",
        "tasks": str(task),
        "backend": fake("Echo"),
        "model_args": "api_key=abc123,depth=3",
        "engine": "inline",
        "output": tmp_path / "run",
        **more,
    }


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run(load_config(options(tmp_path), env={}), Silent())
    return RunFolder(tmp_path / "run")


def own(tmp_path: Path, body: str) -> str:
    file = tmp_path / "own_sink.py"
    file.write_text(f"import os, subprocess, sys, time\n\n\ndef send(record, target):\n    {body}\n")
    return f"{file}:send"


def sent(folder: RunFolder, *words: str, code: int = 0) -> str:
    """`muster send` in a process of its own, whose libraries stay out of this one."""
    command = [sys.executable, "-m", "muster", "send", str(folder.root), *words]
    done = subprocess.run(
        command,
        env={**os.environ, **OFFLINE},
        cwd=folder.root.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def read_back(code: str, cwd: Path) -> object:
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# -- what is sent


def test_scores_intervals_and_settings_without_secrets(folder: RunFolder) -> None:
    record = record_of(folder, step=30)
    numbers = record.numbers()
    assert numbers["echo/accuracy"] == 1.0
    assert numbers["echo/accuracy/ci95_low"] < 1.0 == numbers["echo/accuracy/ci95_high"]
    assert numbers["errors/echo"] == 0
    assert "timing/samples_per_s" in numbers
    assert (record.label, record.step, record.complete) == ("step 30", 30, True)
    assert record.settings["model_args.depth"] == 3
    assert record.settings["scored_as.echo"]
    assert "abc123" not in json.dumps(dict(record.settings))
    assert all(isinstance(value, str | int | float) for value in record.settings.values())


# -- a tracker's failure is the tracker's


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise ValueError('token=abc123 is wrong')", "ValueError: token=***"),
        ("sys.exit(9)", "EndedByCodeError"),
        ("os.kill(os.getpid(), 9)", "the results are in"),
    ],
)
def test_a_sink_that_fails_costs_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: str, says: str
) -> None:
    results = run(load_config(options(tmp_path, sink=own(tmp_path, body)), env={}), Silent())
    assert results.complete
    said = capsys.readouterr().err
    assert says in said
    assert "abc123" not in said
    assert "muster send" in said


def test_a_sink_that_hangs_is_ended_with_what_it_started(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    pid = tmp_path / "pid"
    body = f"open({str(pid)!r}, 'w').write(str(subprocess.Popen(['sleep', '600']).pid)); time.sleep(600)"
    monkeypatch.setattr(sending, "PATIENCE_S", 60.0)
    said: list[str] = []
    real = subprocess.Popen.communicate

    def impatient(self: subprocess.Popen[str], *args: object, **given: object) -> object:
        limit = time.monotonic() + DEADLINE
        while not (pid.exists() and pid.read_text()):
            assert time.monotonic() < limit
            time.sleep(0.02)
        return real(self, timeout=0.1)

    monkeypatch.setattr(subprocess.Popen, "communicate", impatient)
    sending.send_apart(folder, parse_sinks([own(tmp_path, body)]), 0, said.append)
    assert any("not sent to" in line and "within" in line for line in said)
    with suppress(psutil.NoSuchProcess):
        assert gone(psutil.Process(int(pid.read_text())))


def test_mistakes_are_told_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong, says in (
        ("mlfow", "did you mean 'mlflow'"),
        ("nowhere.py:send", "there is no file nowhere.py"),
        (f"{__file__}:nothing", "has no 'nothing'"),
    ):
        with pytest.raises(ConfigurationError, match=says):
            run(load_config(options(tmp_path, sink=wrong), env={}), Silent())
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"\[wandb\]"):
        parse_sinks(["wandb:evals"])


def test_one_of_several_that_fails_is_exit_code_1(folder: RunFolder, tmp_path: Path) -> None:
    good = own(tmp_path, "return f'{record.label} {record.step} {len(record.files)} {target}'")
    bad = tmp_path / "bad.py"
    bad.write_text("def send(record, target):\n    raise OSError('no route')\n")
    words = ["send", str(folder.root), "--to", f"{bad}:send", "--to", good, "--step", "30"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1, done.output
    assert "OSError: no route" in done.output
    assert "step 30 30 3" in done.output  # with the report
    assert not folder.report.exists()
    missing = CliRunner().invoke(app, ["send", str(tmp_path), "--to", good])
    assert isinstance(missing.exception, ConfigurationError)


# -- the real ones


@needs("tensorboard")
def test_tensorboard_reads_it_back(folder: RunFolder, tmp_path: Path) -> None:
    for step in ("30", "40", "40"):
        sent(folder, "--to", f"tensorboard:{tmp_path}/tb", "--step", step, "--no-report")
    code = f"""
import glob, json
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
multiplexer = EventMultiplexer().AddRunsFromDirectory({str(tmp_path / "tb")!r})
multiplexer.Reload()
found = []
for name in sorted(multiplexer.Runs()):
    [score] = multiplexer.Scalars(name, "echo/accuracy")
    text = multiplexer.Tensors(name, "settings")[0].tensor_proto.string_val[0].decode()
    found.append([name, score.step, score.value, "| model_args.depth | 3 |" in text])
print(json.dumps(found))
"""
    record = record_of(folder, 0)
    assert read_back(code, tmp_path) == [
        [f"step-30-{record.run}/step-30", 30, 1.0, True],
        [f"step-30-{record.run}/step-40", 40, 1.0, True],
    ]


@needs("wandb")
def test_wandb_offline_holds_scores_settings_and_the_report(folder: RunFolder, tmp_path: Path) -> None:
    said = sent(folder, "--to", "wandb:evals", "--step", "30")
    assert "wandb sync" in said
    code = """
import glob, json
from wandb.proto import wandb_internal_pb2 as pb
[path] = glob.glob("run/wandb/offline-run-*/*.wandb")

def chunks(content, block=32768):
    # LevelDB's log format: checksum, length and kind (1 whole, 2 first, 3 middle, 4 last) before each chunk.
    assert content[:4] == b":W&B"
    place, begun = 7, b""
    while place < len(content):
        if block - place % block < 7:
            place += block - place % block
            continue
        size, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        begun += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):
            yield begun
            begun = b""

found = {"history": {}, "config": {}, "artifacts": []}
for data in chunks(open(path, "rb").read()):
    record = pb.Record()
    record.ParseFromString(data)
    kind = record.WhichOneof("record_type")
    if kind == "run":
        found["name"], found["project"] = record.run.display_name, record.run.project
        found["config"] |= {item.key: item.value_json for item in record.run.config.update}
    for item in record.history.item:
        found["history"][item.key or "/".join(item.nested_key)] = item.value_json
    if kind == "request" and record.request.WhichOneof("request_type") == "log_artifact":
        artifact = record.request.log_artifact.artifact
        found["artifacts"] += [entry.path for entry in artifact.manifest.contents]
    if kind == "artifact":
        found["artifacts"] += [entry.path for entry in record.artifact.manifest.contents]
print(json.dumps(found))
"""
    found = read_back(code, tmp_path)
    assert isinstance(found, dict)
    assert (found["name"], found["project"]) == ("step 30", "evals")
    assert float(found["history"]["echo/accuracy"]) == 1.0
    assert float(found["history"]["train_step"]) == 30
    assert found["config"]["model_args.depth"] == "3"
    assert {"report.html", "results.json", "manifest.json"} <= set(found["artifacts"])


@needs("mlflow")
def test_mlflow_holds_one_run_however_often_it_is_sent(folder: RunFolder, tmp_path: Path) -> None:
    if importlib.util.find_spec("sqlalchemy") is None:
        pytest.skip("mlflow-skinny alone has no store of its own")
    sent(folder, "--to", "mlflow:evals", "--step", "30")
    sent(folder, "--to", "mlflow:evals", "--step", "40", "--no-report")
    code = """
import json
from mlflow.tracking import MlflowClient
client = MlflowClient()
experiment = client.get_experiment_by_name("evals")
[run] = client.search_runs([experiment.experiment_id])
steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "echo/accuracy")]
files = sorted(file.path for file in client.list_artifacts(run.info.run_id))
score = run.data.metrics["echo/accuracy"]
print(json.dumps([run.info.run_name, run.info.status, score, steps, files, run.data.params["model_args.depth"]]))
"""
    assert read_back(code, tmp_path) == [
        "step 30",
        "FINISHED",
        1.0,
        [30, 40],
        ["manifest.json", "report.html", "results.json"],
        "3",
    ]
