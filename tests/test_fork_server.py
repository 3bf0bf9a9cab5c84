"""A forked `muster` is one in all that tests look at: else they would pass or fail for what is theirs alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fork_server import ForkedMuster, can_be_forked
from processes import DEADLINE, holds_the_model, run_muster, start_muster


def test_it_says_and_ends_as_one_that_was_started(tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit('this is not the library')")
    for words in (["--version"], ["run", "--model", "demo", "--tasks", "./none.yaml"], ["no-such-command"]):
        forked = run_muster(*words, cwd=tmp_path)
        started = subprocess.run(
            [sys.executable, "-m", "muster", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (forked.returncode, forked.stdout, forked.stderr) == (
            started.returncode,
            started.stdout,
            started.stderr,
        )


def test_most_are_forked() -> None:
    """A variable that a library sets once it is imported must not make all the later ones slow."""
    process = start_muster("--version")
    assert isinstance(process, ForkedMuster)
    assert process.communicate(timeout=DEADLINE)[0].startswith("muster ")


@pytest.mark.parametrize("name", ["PYTHONPATH", "HF_HOME", "HOME", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"])
def test_none_is_forked_whose_imports_would_read_other_variables(name: str) -> None:
    assert can_be_forked({**os.environ, "OMP_NUM_THREADS": "1"})
    assert not can_be_forked({**os.environ, "OMP_NUM_THREADS": "1", name: "/elsewhere"})


def test_a_signal_reaches_it_and_its_status_is_told(tmp_path: Path) -> None:
    process = start_muster("worker", "--join", "127.0.0.1:1", stdin=subprocess.PIPE)
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait(DEADLINE) == -signal.SIGKILL
    assert process.poll() == -signal.SIGKILL
    process.communicate()


@pytest.mark.parametrize(
    ("options", "holds"),
    [
        ([], True),
        (["--replicas", "1"], True),
        (["--replicas", "2"], True),
        (["--backend", "openai"], False),
    ],
)
def test_which_of_the_servers_has_what_a_run_imports(options: list[str], holds: bool) -> None:
    assert holds_the_model(["--model", "demo", "--tasks", "digits", *options]) == holds
