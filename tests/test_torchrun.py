"""Runs under real launchers: ranks, scores, dead ranks, restarts of the whole group."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from gates import gate, open_gate_in
from processes import Run, fake, gone, start, stop_for_good, torchrun, write_benchmark

ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]


@pytest.fixture
def task(tmp_path: Path) -> Path:
    return write_benchmark(tmp_path / "bench", 200)


def arguments(task: Path, fake_model: str = "Echo", **options: object) -> list[str]:
    given: dict[str, object] = {
        "model": "demo",
        "tasks": task,
        "backend": fake(fake_model),
        "progress": "plain",
    }
    return [
        word
        for name, value in (given | options).items()
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]


def assert_complete(run: Run, count: int = 200) -> None:
    results = run.results()
    task = results.tasks["echo"]
    assert results.complete, run.stderr
    assert (task.samples.succeeded, task.samples.errored) == (count, 0)
    answered = Counter(record.completion.key for record in run.journal())
    assert len(answered) == count
    assert set(answered.values()) == {1}


def lone_rank(rank: int, port: int) -> dict[str, str]:
    """What a launcher sets for one of two ranks on one node."""
    ranks = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"}
    return ranks | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


@pytest.mark.parametrize("schedule", ["dynamic", "contiguous", "strided"])
def test_every_rank_takes_part_and_the_score_is_that_of_one_process(
    task: Path, tmp_path: Path, schedule: str
) -> None:
    alone = start(tmp_path / "alone", *arguments(task, model_args="seconds=0"))
    assert alone.wait() == 0, alone.stderr
    run = start(
        tmp_path / "run", *arguments(task, schedule=schedule, model_args="seconds=0.01"), launcher=torchrun(3)
    )
    assert run.wait() == 0, run.stderr
    assert_complete(run)
    assert {record.worker for record in run.journal()} == {"worker-0", "worker-1", "worker-2"}
    assert run.results().tasks == alone.results().tasks
    if schedule == "contiguous":
        first = {r.completion.key.sample_id for r in run.journal() if r.worker == "worker-0"}
        assert {f"s{i}" for i in range(50)} <= first


def test_accelerate_launch(task: Path, tmp_path: Path) -> None:
    run = start(tmp_path / "run", *arguments(task, model_args="seconds=0.05"), launcher=ACCELERATE)
    assert run.wait() == 0, run.stderr
    assert_complete(run)
    assert {record.worker for record in run.journal()} == {"worker-0", "worker-1"}


@pytest.mark.parametrize("rank", [0, 1])
def test_kill_9_of_a_rank_ends_the_group_and_the_run_resumes(task: Path, tmp_path: Path, rank: int) -> None:
    options = arguments(task, model_args="seconds=0.03")
    run = start(tmp_path / "run", *options, launcher=torchrun(3))
    run.until_answered(30)
    victim = run.ranks()[rank]
    started = [*run.workers().values(), *run.ranks().values()]
    victim.send_signal(signal.SIGKILL)
    assert run.wait() != 0
    for process in started:
        process.wait(timeout=30)  # nothing is left behind
    again = start(tmp_path / "run", *options, "--replicas", "2", "--engine", "local")
    assert again.wait() == 0, again.stderr
    assert "answers are there" in again.stderr
    assert_complete(again)


def test_sigterm_to_the_launcher_drains(task: Path, tmp_path: Path) -> None:
    options = arguments(task, model_args="seconds=0.03")
    run = start(tmp_path / "run", *options, launcher=torchrun(2))
    run.until_answered(20)
    run.process.send_signal(signal.SIGTERM)
    assert run.wait() != 0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["attempts"][-1]["exit_status"] == 143, run.stderr
    again = start(tmp_path / "run", *options)
    assert again.wait() == 0, again.stderr
    assert_complete(again)


def test_a_stopped_rank_loses_its_work_to_the_others(task: Path, tmp_path: Path) -> None:
    """SIGSTOP of a model's process, and of a rank: the one is replaced, the other goes on."""
    options = arguments(task, "", **gate(tmp_path), worker_timeout=2, rendezvous_timeout=20)
    run = start(tmp_path / "run", *options, launcher=torchrun(3))
    run.until(lambda: all(f"worker-{number} is ready" in run.logs() for number in range(3)), "all ranks")
    stopped = run.worker_of(2)
    stopped.send_signal(signal.SIGSTOP)
    rank = run.ranks()[1]
    rank.send_signal(signal.SIGSTOP)
    run.until(lambda: run.logs().count("worker-2 is ready") == 2, "another worker")
    open_gate_in(tmp_path)
    assert run.wait() == 0, run.stderr
    assert gone(stopped)
    assert f"worker-2 stands still (process {stopped.pid})" in run.stderr
    assert f"process {rank.pid}, a rank, was stopped by a signal: going on" in run.stderr
    assert_complete(run)


def test_killed_workers_are_replaced_and_no_launcher_notices(task: Path, tmp_path: Path) -> None:
    """Once the launcher ended the whole group with the first of them."""
    run = start(tmp_path / "run", *arguments(task, "", **gate(tmp_path)), launcher=torchrun(2))
    run.until_answered(6)
    ranks = run.ranks()
    for rank in (0, 1):
        run.worker_of(rank).kill()
    run.until(lambda: run.logs().count("worker-1 is ready") == 2, "another worker")
    assert run.ranks() == ranks
    open_gate_in(tmp_path)
    assert run.wait() == 0, run.stderr
    assert "worker-1 killed by SIGKILL; starting it again" in run.stderr
    assert_complete(run)


def test_a_poisonous_sample_is_given_up_and_the_rest_is_answered(task: Path, tmp_path: Path) -> None:
    """Each rank that touched it took the group with it, and no number of restarts got past it."""
    options = arguments(task, "Poison", model_args="poison=s7,seconds=0.01")
    run = start(tmp_path / "run", *options, launcher=torchrun(2))
    assert run.wait() == 1
    assert re.search(r"exitcode *: 3\b", run.stderr)  # rank 0's, in torchrun's account
    assert "muster: exit status 3: more samples failed than --max-failures allows\n" in run.stderr
    samples = run.results().tasks["echo"].samples
    assert (samples.succeeded, samples.errored) == (199, 1)
    assert len({record.completion.key for record in run.journal()}) == 200


def test_a_rank_whose_model_breaks_at_every_start_is_given_up_and_the_rest_goes_on(
    task: Path, tmp_path: Path
) -> None:
    options = arguments(task, "BrokenRank", model_args="seconds=0.05", schedule="contiguous")
    run = start(tmp_path / "run", *options, launcher=torchrun(2))
    assert run.wait() == 0, run.stderr
    assert "worker-1 is given up: killed by SIGKILL" in run.stderr
    assert run.stderr.count("worker-1 killed by SIGKILL; starting it again") == 5
    assert_complete(run)


def test_a_rank_whose_launcher_is_gone_before_all_have_met_says_so(task: Path, tmp_path: Path) -> None:
    """torchrun, ended while it starts its ranks, leaves one behind. It tried six times, and didn't say why."""
    env = lone_rank(0, 9) | {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RUN_ID": "none"}
    run = start(tmp_path / "run", *arguments(task, rendezvous_timeout=2), env=env)
    assert run.wait() == 1
    assert (
        "worker-0: could not meet the others: RunError: rank 0 could not reach the rendezvous" in run.stderr
    )
    assert "starting it again" not in run.stderr
    assert "Traceback" not in run.logs()


@pytest.mark.slow
def test_a_rank_that_is_stopped_before_it_joins_keeps_nobody_waiting(task: Path, tmp_path: Path) -> None:
    """torchrun waits for all that it started. The results are written; then rank 0 ends the one that never came."""
    run = start(tmp_path / "run", *arguments(task, rendezvous_timeout=1), launcher=torchrun(2))
    run.until(lambda: 1 in run.ranks(), "the second rank")
    stop_for_good(run.ranks()[1])
    assert run.wait() == 1  # torchrun's word for a group with a killed rank
    assert "rank 1 (process" in run.stderr
    assert "did not end within 12 s of the run's end: killed" in run.stderr
    assert "exact_match" in run.stdout  # the scores were shown before
    assert_complete(run)
    assert "worker-1" not in {record.worker for record in run.journal()}


def test_a_rank_that_stops_after_its_last_answer_keeps_nobody_waiting(task: Path, tmp_path: Path) -> None:
    """It isn't missed: the run is over before its silence is noticed. The launcher waited for it for ever."""
    options = arguments(task, "Freezes", rendezvous_timeout=10, model_args="seconds=0.01")
    run = start(tmp_path / "run", *options, launcher=torchrun(2))
    assert run.wait() == 0, run.stderr
    assert_complete(run)


def test_a_stopped_worker_of_a_replica_of_two_ranks_keeps_nobody_waiting(task: Path, tmp_path: Path) -> None:
    """Rank 2 feeds replica 1, as its workers are counted."""
    options = arguments(task, model_args="seconds=0.05", worker_timeout=2, rendezvous_timeout=20)
    run = start(
        tmp_path / "run", *options, "--gpus-per-replica", "2", "--parallelism", "tensor", launcher=torchrun(4)
    )
    run.until(lambda: "worker-2 is ready" in run.logs(), "the second replica")
    stopped = run.worker_of(2)
    stopped.send_signal(signal.SIGSTOP)
    assert run.wait() == 0, run.stderr
    assert_complete(run)
    stopped.wait(10)


def test_run_timeout_under_a_launcher(task: Path, tmp_path: Path) -> None:
    run = start(
        tmp_path / "run", *arguments(task, run_timeout=6, model_args="seconds=0.2"), launcher=torchrun(2)
    )
    assert run.wait() == 1
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["attempts"][-1]["exit_status"] == 124, run.stderr
    assert "stopped after 6 s (--run-timeout)" in run.stderr


def test_a_configuration_error_is_said_once_and_ends_all_ranks(task: Path, tmp_path: Path) -> None:
    run = start(tmp_path / "run", "--model", "demo", "--tasks", "no_such_task", launcher=torchrun(2))
    assert run.wait() != 0
    assert run.stderr.count("Unknown task or group 'no_such_task'") == 1


def test_a_benchmark_smaller_than_the_world(tmp_path: Path) -> None:
    run = start(tmp_path / "run", *arguments(write_benchmark(tmp_path, 2)), launcher=torchrun(4))
    assert run.wait() == 0, run.stderr
    assert_complete(run, 2)


def test_ranks_without_rank_0_say_who_they_waited_for(tmp_path: Path) -> None:
    """Rank 1 of 2 alone: no coordinator ever comes."""
    run = start(
        tmp_path / "run", "--model", "demo", "--tasks", "digits", "--rendezvous-timeout", "3",
        env=lone_rank(1, 29513),
    )  # fmt: skip
    assert run.wait() == 1
    assert "rank 1 could not reach the rendezvous at 127.0.0.1:29513" in run.stderr
    assert not (tmp_path / "run").exists()


def test_ranks_that_never_come_are_not_waited_for(task: Path, tmp_path: Path) -> None:
    """Rank 0 of 2 alone does all the work, static shares of absent ranks included."""
    run = start(
        tmp_path / "run", *arguments(task, schedule="contiguous", rendezvous_timeout=3),
        env=lone_rank(0, 29514),
    )  # fmt: skip
    assert run.wait() == 0, run.stderr
    assert_complete(run)


def test_a_rank_that_comes_after_the_run_timeout_is_not_kept_waiting(task: Path, tmp_path: Path) -> None:
    """Nor one that waited while rank 0 was still planning: an allocation would be paid for until it gave up."""
    env = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    options = arguments(task, model_args="load_seconds=600", run_timeout=4)
    first = start(tmp_path / "run", *options, env=env | {"RANK": "0", "MASTER_PORT": "29519"})
    manifest = tmp_path / "run" / "manifest.json"
    first.until(
        lambda: manifest.exists() and json.loads(manifest.read_text())["attempts"][-1]["exit_status"] == 124,
        "the end of the run",
    )
    second = start(tmp_path / "other", *options, env=env | {"RANK": "1", "MASTER_PORT": "29519"})
    assert second.wait() == 0, second.stderr
    assert "rank 0 has ended, and left nothing to do" in second.stderr
    assert first.wait() == 124


def test_more_processes_than_gpus_is_an_error_that_says_so(task: Path, tmp_path: Path) -> None:
    run = start(tmp_path / "run", *arguments(task), launcher=torchrun(2), env={"CUDA_VISIBLE_DEVICES": "0"})
    assert run.wait() != 0
    assert "2 processes on this node share 1 GPU(s)" in run.stderr


def test_nodes_that_count_replicas_differently_end_the_run(task: Path, tmp_path: Path) -> None:
    """Two processes with four GPUs are two replicas of two; two with two GPUs are one."""
    shared = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    options = [*arguments(task, model_args="seconds=0.1", rendezvous_timeout=10), "--gpus-per-replica", "2"]
    runs = [
        start(
            tmp_path / rank,
            *options,
            env=shared | {"RANK": rank, "MASTER_PORT": "29523", "CUDA_VISIBLE_DEVICES": gpus},
        )
        for rank, gpus in (("0", "0,1,2,3"), ("2", "0,1"))
    ]
    assert runs[0].wait() == 2, runs[0].stderr
    assert "takes itself for replica 1, and rank 0's node counts it as 2" in runs[0].stderr
    runs[1].wait()


def test_a_stranger_cannot_join_or_feed_results(task: Path, tmp_path: Path) -> None:
    run = start(tmp_path / "run", *arguments(task, replicas=2, model_args="seconds=0.02"))
    run.until_answered(10)
    (listening,) = {
        connection.laddr.port
        for connection in psutil.Process(run.process.pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    stranger = subprocess.run(
        [sys.executable, "-c", _STRANGER, str(listening)],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "refused" in stranger.stdout, stranger.stderr
    assert run.wait() == 0
    assert_complete(run)


_STRANGER = """
import sys
import time
from muster.wire.transport import Connection, HandshakeError
try:
    Connection.connect(("127.0.0.1", int(sys.argv[1])), b"guess" * 8, 5).receive()
except (HandshakeError, OSError) as error:
    print("refused", error)
"""


@pytest.mark.parametrize("schedule", ["dynamic", "strided"])
def test_gather_gives_the_same_results_as_streaming(task: Path, tmp_path: Path, schedule: str) -> None:
    runs = []
    for collect in ("stream", "gather"):
        run = start(
            tmp_path / collect,
            *arguments(
                task, collect=collect, schedule=schedule, dist_backend="gloo", model_args="seconds=0.02"
            ),
            launcher=torchrun(3),
        )
        assert run.wait() == 0, run.stderr
        assert_complete(run)
        runs.append(run)
    assert runs[0].results().tasks == runs[1].results().tasks
    assert {record.worker for record in runs[1].journal()} == {"worker-0", "worker-1", "worker-2"}


def test_gather_survives_a_stopped_rank(task: Path, tmp_path: Path) -> None:
    """The answers that a silent rank kept are lost with it; the others answer them again."""
    run = start(
        tmp_path / "run",
        *arguments(
            task, collect="gather", worker_timeout=2, rendezvous_timeout=20, model_args="seconds=0.04"
        ),
        launcher=torchrun(3),
    )
    run.until(lambda: "worker-2 is ready" in run.logs(), "the third rank")
    run.worker_of(2).send_signal(signal.SIGSTOP)
    assert run.wait() == 0, run.stderr
    assert_complete(run)


def test_gather_gives_up_its_answers_when_interrupted(task: Path, tmp_path: Path) -> None:
    options = arguments(task, collect="gather", model_args="seconds=0.05")
    run = start(tmp_path / "run", *options, launcher=torchrun(2))
    run.until(lambda: all(f"worker-{n} is ready" in run.logs() for n in (0, 1)), "two ranks")
    time.sleep(2)
    run.process.send_signal(signal.SIGTERM)
    assert run.wait() != 0
    assert run.answered() > 10
