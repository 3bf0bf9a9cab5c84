"""`--run-timeout`: a run that takes too long stops by itself, loses nothing, and says what it was.

Guards against the job that a cluster kills at its time limit, after which nobody knows what was lost.
"""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

import muster
from muster.core import ConfigurationError
from processes import Run, fake, start, write_benchmark


@pytest.fixture
def task(tmp_path: Path) -> Path:
    return write_benchmark(tmp_path / "bench", 24)


def limited(tmp_path: Path, task: Path, seconds: float, *options: str) -> Run:
    words = ["--model", "demo", "--tasks", str(task), "--progress", "plain", "--run-timeout", str(seconds)]
    return start(tmp_path / "run", *words, *options)


@pytest.mark.parametrize("engine", ["inline", "local"])
def test_what_is_started_is_finished_and_the_rest_is_for_later(
    task: Path, tmp_path: Path, engine: str
) -> None:
    """24 answers take twice as long as the limit; how long a limit the first of them needs depends on the machine."""
    for limit in (4, 20, 100):
        options = ["--backend", fake("Echo"), "--model-args", f"seconds={limit / 12}"]
        run = limited(tmp_path, task, limit, *options, "--engine", engine, "--replicas", "1")
        assert run.wait() == 124, run.stderr
        if kept := run.answered():
            break
        shutil.rmtree(run.output)
    assert 0 < kept < 24
    assert f"muster: stopped after {limit} s (--run-timeout): {kept} of 24 answers are kept in" in run.stderr
    manifest = json.loads((run.output / "manifest.json").read_text())
    assert manifest["attempts"][-1]["exit_status"] == 124
    if engine == "local":
        again = limited(tmp_path, task, 1000, *options, "--replicas", "3")
        assert again.wait() == 0, again.stderr
        assert again.results().complete
        assert again.answered() == 24


@pytest.mark.parametrize("engine", ["inline", "local"])
def test_a_model_that_loads_for_too_long_is_not_waited_for(task: Path, tmp_path: Path, engine: str) -> None:
    options = ["--backend", fake("Echo"), "--engine", engine, "--model-args", "load_seconds=600"]
    run = limited(tmp_path, task, 2, *options)
    assert run.wait() == 124
    assert "0 of 24 answers are kept" in run.stderr


def test_elsewhere_than_in_the_main_thread_it_is_refused(task: Path, tmp_path: Path) -> None:
    """A signal would hit whoever has the main thread."""
    errors: list[BaseException] = []

    def evaluate() -> None:
        try:
            muster.evaluate("demo", str(task), output=tmp_path / "run", backend=fake("Echo"), run_timeout=5)
        except ConfigurationError as error:
            errors.append(error)

    thread = threading.Thread(target=evaluate)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])
