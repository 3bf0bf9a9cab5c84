"""A forked `muster` is one in all that tests look at: else they would pass or fail for what is theirs alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fork_server import ForkedMuster, can_be_forked
from processes import (
    DEADLINE,
    fake,
    holds_the_model,
    launched,
    run_muster,
    start,
    start_muster,
    write_benchmark,
)


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


def test_what_it_starts_of_its_own_is_forked_and_looks_as_if_it_had_been_executed(tmp_path: Path) -> None:
    task = write_benchmark(tmp_path / "bench", 40)
    options = ["--model", "demo", "--tasks", str(task), "--backend", fake("Echo"), "--replicas", "2"]
    run = start(
        tmp_path / "run", *options, "--model-args", "seconds=0.1", launcher=launched(2), env={"TOLD": "yes"}
    )
    run.until_answered(3)
    ranks = run.ranks()
    workers = [run.worker_of(0), run.worker_of(1)]
    assert {worker.ppid() for worker in workers} == {rank.pid for rank in ranks.values()}
    assert {rank.ppid() for rank in ranks.values()} == {run.process.pid}
    for number, worker in enumerate(workers):
        assert worker.cmdline()[:3] == [sys.executable, "-m", "muster.worker.worker"]
        assert (worker.environ()["RANK"], worker.environ()["TOLD"]) == (str(number), "yes")
        assert any(
            "multiprocessing.forkserver" in each.cmdline()
            for each in psutil.Process(worker.ppid()).children()
        )
    assert run.wait() == 0, run.stderr
    assert not any(each.is_running() for each in (*workers, *ranks.values()))


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
