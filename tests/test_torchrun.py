"""Ranks that a launcher started: scores, dead ranks, ranks that hang, come late or never.

What torchrun and its c10d store have a part in runs under torchrun itself; the rest, which is Muster's own, under the
small launcher, whose ranks are given the coordinator's address.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gates import gate, open_gate_in
from muster.config import RunConfig
from muster.coordinator.listener import Entry, Listener
from muster.core import ConfigurationError
from muster.engines.choose import choose_engine
from muster.machine.given_coordinator import ADDRESS, SECRET_FILE, given_coordinator
from muster.wire.join_secret import key_of
from muster.wire.messages import Stop, encode
from muster.wire.transport import Channel, Connection, HandshakeError
from processes import (
    DEADLINE,
    Run,
    fake,
    gone,
    launched,
    start,
    stop_for_good,
    torchrun,
    until_gone,
    write_benchmark,
)
from small_launcher import hold_port

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


@pytest.fixture
def port() -> Iterator[int]:
    """One that nobody else is given, and where nobody listens yet."""
    with hold_port() as held:
        yield held.getsockname()[1]


@pytest.fixture(params=["c10d", "given"])
def meeting(request: pytest.FixtureRequest, port: int, tmp_path: Path) -> dict[str, str]:
    """Where ranks meet: in a store that rank 0 hosts, or at the coordinator's address, which all were given."""
    return c10d(port) if request.param == "c10d" else given(port, tmp_path)


def c10d(port: int) -> dict[str, str]:
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def given(port: int, folder: Path) -> dict[str, str]:
    (folder / "secret").write_text("a secret of these ranks")
    return {
        "MUSTER_COORDINATOR": f"127.0.0.1:{port}",
        "MUSTER_COORDINATOR_SECRET_FILE": str(folder / "secret"),
    }


def lone_rank(rank: int, *, nodes: int = 1) -> dict[str, str]:
    """What a launcher sets for one of two ranks."""
    local = {"LOCAL_RANK": str(rank // nodes), "LOCAL_WORLD_SIZE": str(2 // nodes)}
    return {"RANK": str(rank), "WORLD_SIZE": "2", **local}


@pytest.mark.parametrize(
    ("schedule", "launcher"),
    [("dynamic", torchrun(2)), ("contiguous", launched(3)), ("strided", launched(3))],
    ids=["dynamic-torchrun", "contiguous", "strided"],
)
def test_every_rank_takes_part_and_the_score_is_that_of_one_process(
    task: Path, tmp_path: Path, schedule: str, launcher: list[str]
) -> None:
    alone = start(tmp_path / "alone", *arguments(task, model_args="seconds=0"))
    assert alone.wait() == 0, alone.stderr
    run = start(
        tmp_path / "run", *arguments(task, schedule=schedule, model_args="seconds=0.01"), launcher=launcher
    )
    assert run.wait() == 0, run.stderr
    assert_complete(run)
    ranks = 2 if schedule == "dynamic" else 3
    assert {record.worker for record in run.journal()} == {f"worker-{rank}" for rank in range(ranks)}
    assert run.results().tasks == alone.results().tasks
    if schedule == "contiguous":
        first = {r.completion.key.sample_id for r in run.journal() if r.worker == "worker-0"}
        assert {f"s{i}" for i in range(50)} <= first


def test_accelerate_launch(task: Path, tmp_path: Path) -> None:
    run = start(tmp_path / "run", *arguments(task, model_args="seconds=0.05"), launcher=ACCELERATE)
    assert run.wait() == 0, run.stderr
    assert_complete(run)
    assert {record.worker for record in run.journal()} == {"worker-0", "worker-1"}


@pytest.mark.parametrize(("rank", "launcher"), [(0, torchrun(2)), (1, launched(3))], ids=["0-torchrun", "1"])
def test_kill_9_of_a_rank_ends_the_group_and_the_run_resumes(
    task: Path, tmp_path: Path, rank: int, launcher: list[str]
) -> None:
    options = arguments(task, model_args="seconds=0.03")
    run = start(tmp_path / "run", *options, launcher=launcher)
    run.until_answered(30)
    victim = run.ranks()[rank]
    started = [*run.workers().values(), *run.ranks().values()]
    victim.send_signal(signal.SIGKILL)
    assert run.wait() != 0
    until_gone(*started)  # nothing is left behind
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
    run = start(tmp_path / "run", *options, launcher=launched(3))
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
    run = start(tmp_path / "run", *arguments(task, "", **gate(tmp_path)), launcher=launched(2))
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
    run = start(tmp_path / "run", *options, launcher=launched(2))
    assert run.wait() == 1
    assert re.search(r"exitcode *: 3\b", run.stderr)  # rank 0's
    assert "muster: exit status 3: more samples failed than --max-failures allows\n" in run.stderr
    samples = run.results().tasks["echo"].samples
    assert (samples.succeeded, samples.errored) == (199, 1)
    assert len({record.completion.key for record in run.journal()}) == 200


def test_a_rank_whose_model_breaks_at_every_start_is_given_up_and_the_rest_goes_on(
    task: Path, tmp_path: Path
) -> None:
    options = arguments(task, "BrokenRank", model_args="seconds=0.05", schedule="contiguous")
    run = start(tmp_path / "run", *options, launcher=launched(2))
    assert run.wait() == 0, run.stderr
    assert "worker-1 is given up: killed by SIGKILL" in run.stderr
    assert run.stderr.count("worker-1 killed by SIGKILL; starting it again") == 5
    assert_complete(run)


def test_a_rank_whose_launcher_is_gone_before_all_have_met_says_so(
    task: Path, tmp_path: Path, port: int
) -> None:
    """torchrun, ended while it starts its ranks, leaves one behind. It tried six times, and didn't say why."""
    env = lone_rank(0) | c10d(port) | {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RUN_ID": "none"}
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
    run = start(tmp_path / "run", *options, launcher=launched(2))
    assert run.wait() == 0, run.stderr
    assert_complete(run)


def test_a_stopped_worker_of_a_replica_of_two_ranks_keeps_nobody_waiting(task: Path, tmp_path: Path) -> None:
    """Rank 2 feeds replica 1, as its workers are counted."""
    options = arguments(task, model_args="seconds=0.05", worker_timeout=2, rendezvous_timeout=20)
    run = start(
        tmp_path / "run", *options, "--gpus-per-replica", "2", "--parallelism", "tensor", launcher=launched(4)
    )
    run.until(lambda: "worker-2 is ready" in run.logs(), "the second replica")
    stopped = run.worker_of(2)
    stopped.send_signal(signal.SIGSTOP)
    assert run.wait() == 0, run.stderr
    assert_complete(run)
    until_gone(stopped)


def test_run_timeout_under_a_launcher(task: Path, tmp_path: Path) -> None:
    run = start(
        tmp_path / "run", *arguments(task, run_timeout=6, model_args="seconds=0.2"), launcher=launched(2)
    )
    assert run.wait() == 1
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["attempts"][-1]["exit_status"] == 124, run.stderr
    assert "stopped after 6 s (--run-timeout)" in run.stderr


def test_a_benchmark_smaller_than_the_world(tmp_path: Path) -> None:
    run = start(tmp_path / "run", *arguments(write_benchmark(tmp_path, 2)), launcher=launched(4))
    assert run.wait() == 0, run.stderr
    assert_complete(run, 2)


def test_a_rank_whose_coordinator_ends_while_it_joins_is_not_a_failed_one(tmp_path: Path, port: int) -> None:
    """It finds the coordinator, is turned away, finds nobody, and then who says that all is over."""
    meeting = given(port, tmp_path)
    found = given_coordinator(meeting)
    assert found is not None
    turned_away = asyncio.Event()

    async def serve(channel: Channel, _entry: Entry) -> None:
        if await channel.receive() is not None:  # not only a look
            turned_away.set()

    async def over(channel: Channel, _entry: Entry) -> None:
        await channel.receive()
        channel.send(encode(Stop("over", "nothing is left")))
        await channel.drain()

    async def coordinators() -> Run:
        first, last = Listener(serve), Listener(over)
        await first.listen("127.0.0.1", port, Entry(found.key))
        options = ["--model", "demo", "--tasks", "digits", "--rendezvous-timeout", "200"]
        run = start(tmp_path / "run", *options, env=lone_rank(1) | meeting)
        await asyncio.wait_for(turned_away.wait(), DEADLINE)
        await first.close()
        await asyncio.sleep(0.5)
        await last.listen("127.0.0.1", port, Entry(found.key))
        await asyncio.to_thread(run.wait)
        await last.close()
        return run

    run = asyncio.run(coordinators())
    assert run.process.returncode == 0, run.stderr
    assert "nothing is left" in run.stderr


def test_ranks_without_rank_0_say_who_they_waited_for(
    tmp_path: Path, meeting: dict[str, str], port: int
) -> None:
    """Rank 1 of 2 alone: no coordinator ever comes."""
    run = start(
        tmp_path / "run", "--model", "demo", "--tasks", "digits", "--rendezvous-timeout", "2",
        env=lone_rank(1) | meeting,
    )  # fmt: skip
    assert run.wait() == 1
    assert re.search(
        rf"rank 1 (could not reach the rendezvous at|on \S+ cannot reach the coordinator at MUSTER_COORDINATOR=)"
        rf" ?127\.0\.0\.1:{port}",
        run.stderr,
    )
    assert not (tmp_path / "run").exists()


def test_ranks_that_never_come_are_not_waited_for(task: Path, tmp_path: Path, port: int) -> None:
    """Rank 0 of 2 alone does all the work, static shares of absent ranks included."""
    run = start(
        tmp_path / "run", *arguments(task, schedule="contiguous", rendezvous_timeout=3),
        env=lone_rank(0) | given(port, tmp_path),
    )  # fmt: skip
    assert run.wait() == 0, run.stderr
    assert_complete(run)


def test_a_rank_that_comes_after_the_run_timeout_is_not_kept_waiting(
    task: Path, tmp_path: Path, meeting: dict[str, str]
) -> None:
    """Nor one that waited while rank 0 was still planning: an allocation would be paid for until it gave up."""
    options = arguments(task, model_args="load_seconds=600", run_timeout=4)
    first = start(tmp_path / "run", *options, env=lone_rank(0, nodes=2) | meeting)
    manifest = tmp_path / "run" / "manifest.json"
    first.until(
        lambda: manifest.exists() and json.loads(manifest.read_text())["attempts"][-1]["exit_status"] == 124,
        "the end of the run",
    )
    second = start(tmp_path / "other", *options, env=lone_rank(1, nodes=2) | meeting)
    assert second.wait() == 0, second.stderr
    assert "rank 0 has ended, and left nothing to do" in second.stderr
    assert first.wait() == 124


def test_who_does_not_know_the_secret_is_no_rank(task: Path, tmp_path: Path, port: int) -> None:
    """And says so: the other node's secret file may be an older one."""
    first = start(
        tmp_path / "run", *arguments(task, "", **gate(tmp_path)), env=lone_rank(0) | given(port, tmp_path)
    )
    first.until_answered(2)
    (tmp_path / "older").mkdir()
    env = lone_rank(1) | given(port, tmp_path / "older")
    Path(env["MUSTER_COORDINATOR_SECRET_FILE"]).write_text("an older secret of these ranks")
    second = start(tmp_path / "other", *arguments(task, rendezvous_timeout=2), env=env)
    assert second.wait() == 1
    assert "belongs to another run" in second.stderr
    open_gate_in(tmp_path)
    first.until(lambda: (tmp_path / "run" / "results.json").exists(), "the results")
    first.process.send_signal(signal.SIGTERM)  # it would stay a minute for rank 1
    first.wait()
    assert {record.worker for record in first.journal()} == {"worker-0"}


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"MUSTER_COORDINATOR": "node0"}, "MUSTER_COORDINATOR: 'node0' is not an address"),
        ({"MUSTER_COORDINATOR": "0.0.0.0:29400"}, "must be an address of rank 0's node"),
        ({"MUSTER_COORDINATOR": "node0:29400"}, "MUSTER_COORDINATOR_SECRET_FILE is not"),
        (
            {"MUSTER_COORDINATOR": "node0:29400", "MUSTER_COORDINATOR_SECRET_FILE": "/no/such/file"},
            "cannot read MUSTER_COORDINATOR_SECRET_FILE=/no/such/file",
        ),
        (
            {"MUSTER_COORDINATOR": "node0:29400", "MUSTER_COORDINATOR_SECRET_FILE": "SHORT"},
            "SHORT has 5 characters: a secret needs at least 16",
        ),
    ],
)
def test_an_address_that_ranks_cannot_use(tmp_path: Path, env: dict[str, str], message: str) -> None:
    (tmp_path / "SHORT").write_text("short")
    if env.get(SECRET_FILE) == "SHORT":
        env |= {SECRET_FILE: str(tmp_path / "SHORT")}
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        given_coordinator(env)


@pytest.mark.parametrize(
    ("address", "listens_at"),
    [
        ("127.0.0.1:1", "127.0.0.1"),
        ("localhost:1", "127.0.0.1"),
        ("[::1]:1", "::1"),
        ("node0:1", "0.0.0.0"),
        ("[fd00::1]:1", "::"),
    ],
)
def test_where_rank_0_listens(tmp_path: Path, address: str, listens_at: str) -> None:
    told = given_coordinator(given(1, tmp_path) | {ADDRESS: address})
    assert told is not None
    assert told.listen_host({}) == listens_at


def test_one_secret_for_ranks_and_joiners_opens_only_its_own_entrance() -> None:
    assert key_of("a secret for both", "ranks") != key_of("a secret for both", "join")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "nothing says which rank this process is"),
        (("--engine", "torchrun"), "no launcher set any ranks"),
    ],
)
def test_an_address_without_ranks_does_not_make_each_machine_do_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], message: str
) -> None:
    for name, value in given(1, tmp_path).items():
        monkeypatch.setenv(name, value)
    engine = {"engine": more[1]} if more else {}
    with pytest.raises(ConfigurationError, match=message):
        choose_engine(RunConfig.model_validate({"model": "demo", "tasks": ["digits"], **engine}))


def test_a_gather_needs_the_launchers_rendezvous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (lone_rank(0) | given(1, tmp_path)).items():
        monkeypatch.setenv(name, value)
    config = RunConfig.model_validate({"model": "demo", "tasks": ["digits"], "collect": "gather"})
    with pytest.raises(ConfigurationError, match="unset MUSTER_COORDINATOR"):
        choose_engine(config)


def test_more_processes_than_gpus_is_an_error_that_says_so(task: Path, tmp_path: Path) -> None:
    run = start(tmp_path / "run", *arguments(task), launcher=launched(2), env={"CUDA_VISIBLE_DEVICES": "0"})
    assert run.wait() != 0
    assert "2 processes on this node share 1 GPU(s)" in run.stderr


def test_nodes_that_count_replicas_differently_end_the_run(task: Path, tmp_path: Path, port: int) -> None:
    """Two processes with four GPUs are two replicas of two; two with two GPUs are one."""
    shared = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "0"} | given(port, tmp_path)
    options = [*arguments(task, model_args="seconds=0.1", rendezvous_timeout=10), "--gpus-per-replica", "2"]
    runs = [
        start(tmp_path / rank, *options, env=shared | {"RANK": rank, "CUDA_VISIBLE_DEVICES": gpus})
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
    with pytest.raises((HandshakeError, OSError)):
        Connection.connect(("127.0.0.1", listening), b"guess" * 8, 5)
    assert run.wait() == 0
    assert_complete(run)


def test_gather_gives_the_same_results_as_streaming(task: Path, tmp_path: Path) -> None:
    runs = []
    for collect, launcher in (("stream", launched(2)), ("gather", torchrun(2))):
        run = start(
            tmp_path / collect,
            *arguments(task, collect=collect, dist_backend="gloo", model_args="seconds=0.02"),
            launcher=launcher,
        )
        assert run.wait() == 0, run.stderr
        assert_complete(run)
        runs.append(run)
    assert runs[0].results().tasks == runs[1].results().tasks
    assert {record.worker for record in runs[1].journal()} == {"worker-0", "worker-1"}


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


def test_what_torchrun_says_last_is_what_rank_0_said(tmp_path: Path) -> None:
    """Of 42 lines one was useful, and it was the first."""
    run = start(tmp_path / "run", "--model", "demo", "--tasks", "digts_read", launcher=torchrun(2))
    assert run.wait() == 1
    assert re.search(r"exitcode *: 2\b", run.stderr)  # the ranks', in torchrun's account
    assert run.stderr.count("muster: Unknown task or group 'digts_read'") == 1, "rank 0's alone"
    said = run.stderr.splitlines()
    assert any("Unknown task or group 'digts_read'" in line for line in said[-3:]), run.stderr
    assert "while waiting for rank 0" not in run.stderr
    assert not (tmp_path / "run").exists()
