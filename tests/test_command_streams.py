"""A command whose standard streams are full or closed: its work is done, and it says what it couldn't."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from muster.cli.complaint import tell_status
from processes import fake, write_benchmark


def run(redirected: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    task = write_benchmark(tmp_path / "data", 5)
    command = [sys.executable, "-m", "muster", "run", "--model", "x", "--tasks", str(task), "--backend"]
    command += [fake("Echo"), "--engine", "inline", "--output", str(tmp_path / "run")]
    line = f'"$@" {redirected}'
    return subprocess.run(["sh", "-c", line, "sh", *command], capture_output=True, text=True, check=False)


def test_scores_that_find_no_room_on_standard_output_are_said_to_be_kept(tmp_path: Path) -> None:
    """It was a traceback after a whole evaluation."""
    ended = run(">/dev/full", tmp_path)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "No space left on device" in ended.stderr.splitlines()[-1]
    assert "results.json" in ended.stderr.splitlines()[-1]
    assert (tmp_path / "run" / "results.json").exists()


def test_closed_streams_are_nobody_elses(tmp_path: Path) -> None:
    """The first file that a run opened got the number 1 or 2."""
    ended = run(">&- 2>&-", tmp_path)
    assert ended.returncode == 0
    assert (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize(
    ("status", "meaning"),
    [(1, "the run failed"), (3, "--max-failures"), (124, "--run-timeout"), (143, "signal"), (0, "")],
)
def test_an_exit_status_that_a_launcher_will_replace_is_said(
    status: int, meaning: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """torchrun ends with 1, whatever rank 0 ended with."""
    tell_status(status)
    said = capsys.readouterr().err
    assert meaning in said
    assert bool(said) == bool(status)
    assert not said or f"exit status {status}: " in said


def test_a_reader_that_has_enough_is_no_error_of_somebody_elses_code() -> None:
    """`muster models | head` said that a library had ended the command."""
    line = f"{sys.executable} -m muster models | true"
    ended = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert ended.stderr == ""


@pytest.mark.parametrize(
    "command",
    [
        ["run", "--model", "LONG", "--tasks", "digits"],
        ["run", "--model", "demo", "--tasks", "LONG"],
        ["compare", "LONG", "b"],
        ["report", "LONG"],
        ["explain", "LONG", "b"],
        ["view", "LONG"],
    ],
    ids=" ".join,
)
def test_a_name_that_no_file_system_has_room_for_is_told(tmp_path: Path, command: list[str]) -> None:
    words = [word.replace("LONG", "m" * 400) for word in command]
    done = subprocess.run(
        [sys.executable, "-m", "muster", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    [said] = done.stderr.splitlines()
    assert (done.returncode, said.count("m" * 400)) == (2, 1)
    assert said.endswith(": File name too long")
