"""Machines that join a running run and leave it, as real processes; and strangers, who must do neither.

Guards against what adding a machine by hand costs elsewhere: a secret on a command line that `ps` shows to everybody,
workers of another model or version whose answers are mixed in, work that is lost with a machine that leaves.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import stat
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gates import answers_of
from joiners import join, until_open
from muster.demo import demo_model_path
from processes import Run, fake, gone, start, write_benchmark
from small_launcher import hold_port

COUNT = 150
HOST = socket.gethostname().partition(".")[0]


@pytest.fixture
def task(tmp_path: Path) -> Path:
    return write_benchmark(tmp_path / "bench", COUNT)


@pytest.fixture
def address() -> Iterator[str]:
    """An address at which nobody listens, and that nobody else is given."""
    with hold_port() as held:
        yield f"127.0.0.1:{held.getsockname()[1]}"


def start_open(tmp_path: Path, task: Path, address: str, fake_model: str = "Echo", **options: object) -> Run:
    """Start a run that may be joined."""
    given = {
        "model": "demo",
        "tasks": task,
        "backend": fake(fake_model),
        "progress": "plain",
        "listen": address,
    }
    words = [
        word
        for name, value in (given | options).items()
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    return start(tmp_path / "run", *words)


def assert_complete(run: Run, count: int = COUNT) -> None:
    results = run.results()
    assert results.complete, run.logs()
    assert results.tasks["echo"].samples.succeeded == count
    answered = Counter(record.completion.key for record in run.journal())
    assert len(answered) == count
    assert set(answered.values()) == {1}


def test_workers_join_and_one_leaves_in_good_order(task: Path, tmp_path: Path, address: str) -> None:
    """What the leaving one has started is finished, the rest goes back, and nobody is lost_with for anything."""
    run = start_open(tmp_path, task, address, replicas=1, model_args="seconds=0.1")
    secret_file = until_open(run)
    secret = secret_file.read_text().strip()
    assert stat.S_IMODE(secret_file.stat().st_mode) == 0o600
    staying = join(address, "--replicas", "2", "--name", "big", secret_file=secret_file)
    leaving = join(address, "--replicas", "1", secret=secret)
    names = [f"big@{HOST}.0", f"big@{HOST}.1", f"{HOST}.0"]
    run.until(lambda: all(answers_of(run, name) > 1 for name in names), "answers of all three")
    seen = [run.process.pid, staying.process.pid, leaving.process.pid]
    for process in [psutil.Process(pid) for pid in seen] + staying.workers():
        assert secret not in " ".join(process.cmdline())
        assert secret not in json.dumps(process.environ())
    leaving.process.send_signal(signal.SIGTERM)
    assert leaving.wait() == 143
    assert "left the run" in leaving.stderr
    assert run.wait() == 0, run.stderr
    assert staying.wait() == 0, staying.stderr
    assert "the run is over" in staying.stderr
    assert_complete(run)
    assert {record.worker for record in run.journal()} == {*names, "worker-0"}
    assert f"joined: 3 from {socket.gethostname()}" in run.stderr
    assert f"muster worker --join {address}" in run.stderr
    assert not secret_file.exists()
    assert "WARNING muster.coordinator.coordinator" not in run.stderr
    assert all(secret not in file.read_text() for file in run.output.rglob("*.[jl]*"))
    assert "is ready" in (run.output / "logs" / f"{HOST}.0.log").read_text()  # its log came with it


def test_a_run_of_joiners_alone_survives_the_death_of_one(task: Path, tmp_path: Path, address: str) -> None:
    """--replicas 0 waits for the first; a killed replica is started again by the machine that it is on."""
    run = start_open(tmp_path, task, address, replicas=0, model_args="seconds=0.04", worker_timeout=20)
    secret_file = until_open(run)
    machine = join(address, "--replicas", "1", secret_file=secret_file)
    run.until_answered(20)
    (before,) = machine.workers()
    before.kill()
    assert run.wait() == 0, run.stderr
    assert machine.wait() == 0, machine.stderr
    assert "killed by SIGKILL; starting it again" in machine.stderr
    assert_complete(run)


@pytest.mark.parametrize(
    ("parallelism", "gpus", "shares", "local_workers"),
    [("device-map", "4,5,6,7,9", {"4,5", "6,7"}, "2"), ("tensor", "4,5,6,7", {"4,5", "6,7"}, "4")],
)
def test_a_machines_gpus_are_shared_out_as_the_run_has_them(
    task: Path,
    tmp_path: Path,
    address: str,
    parallelism: str,
    gpus: str,
    shares: set[str],
    local_workers: str,
) -> None:
    """Two GPUs per replica there, two here: one each would run out of memory, and all four be half as many."""
    gate = tmp_path / "gate"
    run = start_open(
        tmp_path, task, address, "Waiting",
        replicas=0, gpus_per_replica=2, parallelism=parallelism, model_args=f"gate={gate}",
    )  # fmt: skip
    secret_file = until_open(run)
    machine = join(address, secret_file=secret_file, backend="Waiting", env={"CUDA_VISIBLE_DEVICES": gpus})
    names = [f"{HOST}.0", f"{HOST}.1"]
    run.until(lambda: all(f"{name} is ready" in run.logs() for name in names), "both replicas")
    environments = [worker.environ() for worker in machine.workers()]
    assert {each["CUDA_VISIBLE_DEVICES"] for each in environments} == shares
    assert {each["MUSTER_LOCAL_WORKERS"] for each in environments} == {local_workers}
    small = join(address, secret_file=secret_file, backend="Waiting", env={"CUDA_VISIBLE_DEVICES": "3"})
    assert small.wait() == 2
    assert "the run's replicas have 2 GPU(s) each" in small.stderr
    gate.touch()
    assert run.wait() == 0, run.stderr
    assert machine.wait() == 0, machine.stderr
    assert_complete(run)


def test_nobody_joins(task: Path, tmp_path: Path, address: str) -> None:
    run = start_open(tmp_path, task, address, replicas=0, rendezvous_timeout=1, progress="none")
    assert run.wait() == 1
    assert "nobody has joined for 1 s" in run.stderr
    assert f"muster worker --join {address}" in run.stderr  # without any other progress


def test_joined_workers_finish_what_the_runs_own_can_not(task: Path, tmp_path: Path, address: str) -> None:
    """The run's own replica never loads, and the joined one has no share of a static schedule until it is given up."""
    gate = tmp_path / "gate"
    run = start_open(
        tmp_path, task, address, "Picky",
        replicas=1, schedule="contiguous", model_args=f"device=broken,gate={gate},seconds=0.01",
    )  # fmt: skip
    options = ["--replicas", "1", "--model-args", "device=fine"]
    machine = join(address, *options, secret_file=until_open(run), backend="Picky")
    run.until(lambda: f"{HOST}.0 is ready" in run.logs(), "the joined worker")
    gate.touch()
    assert run.wait() == 0, run.stderr
    assert machine.wait() == 0, machine.stderr
    assert_complete(run)
    assert {record.worker for record in run.journal()} == {f"{HOST}.0"}


def test_a_joined_worker_that_hangs_is_replaced(task: Path, tmp_path: Path, address: str) -> None:
    args = f"hang=s7,once={tmp_path / 'hung'}"
    run = start_open(tmp_path, task, address, "Hangs", replicas=0, model_args=args, request_timeout=2)
    machine = join(address, "--replicas", "1", secret_file=until_open(run), backend="Hangs")
    assert run.wait() == 0, run.stderr
    assert machine.wait() == 0, machine.stderr
    assert "killed by SIGABRT; starting it again" in machine.stderr
    assert "no answer for" in run.logs()
    assert "self.touch(request)" in run.logs()  # the stack
    assert_complete(run)


def test_a_joined_worker_that_stands_still_is_replaced(task: Path, tmp_path: Path, address: str) -> None:
    """It can't be told anything; the process that keeps it going asks the coordinator, and kills it."""
    args = f"hang=s7,hard=true,once={tmp_path / 'hung'}"
    run = start_open(tmp_path, task, address, "Hangs", replicas=0, model_args=args, worker_timeout=2)
    machine = join(address, "--replicas", "1", secret_file=until_open(run), backend="Hangs")
    assert run.wait() == 0, run.stderr
    assert machine.wait() == 0, machine.stderr
    assert "stands still (process" in machine.stderr
    assert_complete(run)


def test_a_coordinator_that_is_gone_is_said(task: Path, tmp_path: Path, address: str) -> None:
    run = start_open(tmp_path, task, address, replicas=0, model_args="seconds=0.05", worker_timeout=1)
    machine = join(address, "--replicas", "1", secret_file=until_open(run))
    run.until_answered(5)
    run.kill_everything()
    run.wait()
    assert machine.wait() == 1
    assert f"no run can be joined at {address}" in machine.stderr


@pytest.fixture(scope="module")
def open_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, str]]:
    """A run that waits for joiners that are never let in."""
    folder = tmp_path_factory.mktemp("open")
    task = write_benchmark(folder / "bench", 4)
    with hold_port() as held:
        address = f"127.0.0.1:{held.getsockname()[1]}"
        run = start_open(folder, task, address, replicas=0)
        until_open(run)
        yield run, address
        run.process.send_signal(signal.SIGTERM)
        assert run.wait() == 143


def test_who_has_no_secret_or_another_is_told_so(open_run: tuple[Run, str]) -> None:
    run, address = open_run
    for secret, message in (
        ("a guess of some length", f"the run at {address} has another secret"),
        ("short", "a secret needs at least 16"),
        ("", "the secret of the run is needed"),
    ):
        stranger = join(address, secret=secret)
        assert stranger.wait() == 2
        assert message in stranger.stderr
    assert run.process.poll() is None


def test_the_secret_may_come_from_the_environment_and_goes_no_further(open_run: tuple[Run, str]) -> None:
    run, address = open_run
    secret = until_open(run).read_text().strip()
    refused = join(address, backend=None, env={"MUSTER_JOIN_SECRET": secret})
    assert refused.wait() == 2
    assert "which a coordinator can't make this machine run" in refused.stderr


def test_only_the_same_model_and_the_same_code_may_join(open_run: tuple[Run, str], tmp_path: Path) -> None:
    run, address = open_run
    file = until_open(run)
    other = tmp_path / "other-model"
    shutil.copytree(demo_model_path(), other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"muster_test": 1}))
    changed = tmp_path / "fake_models.py"
    changed.write_text("class Echo: ...\n")
    for options, message in (
        (["--model", str(other)], "is not the run's model (demo):\n  files.config.json:"),
        (["--model-args", "seconds=3"], "--model-args seconds: could change the answers"),
        (["--backend", f"{changed}:Echo"], "is another file than the run's"),
    ):
        refused = join(address, *options, secret_file=file)
        assert refused.wait() == 2
        assert message in refused.stderr, refused.stderr


def test_what_is_taken_or_missing_is_said_in_the_words_of_the_command_at_hand(
    open_run: tuple[Run, str], tmp_path: Path
) -> None:
    run, address = open_run
    few = join(address, "--replicas", "2", secret_file=until_open(run), env={"CUDA_VISIBLE_DEVICES": "0"})
    second = start_open(tmp_path, write_benchmark(tmp_path / "bench", 4), address, replicas=0)
    assert few.wait() == 2
    assert "the run's replicas have 1 GPU(s) each, and 1 are visible here" in few.stderr
    assert second.wait() == 1
    assert f"--listen {address}: the port is taken" in second.stderr


def test_nobody_listens(address: str) -> None:
    alone = join(address, secret="a secret of some length")
    assert alone.wait() == 1
    assert f"no run can be joined at {address} (Connection refused)" in alone.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "inline"}, "--engine inline has one replica, which nobody can join"),
        ({"replicas": 0, "schedule": "strided"}, "--replicas 0 has none"),
        ({"listen": "[::1"}, "an IPv6 address is written"),
        ({"listen": "203.0.113.1:1"}, "--listen 203.0.113.1:1: "),
        ({"secret_file": "no-such-file"}, "cannot read --secret-file no-such-file"),
    ],
)
def test_what_cannot_be_listened_to(
    task: Path, tmp_path: Path, address: str, options: dict[str, object], message: str
) -> None:
    run = start_open(tmp_path, task, address, "Echo", **options)
    assert run.wait() in (1, 2)
    assert message in run.stderr
    if (run.output / "manifest.json").exists():
        assert json.loads((run.output / "manifest.json").read_text())["attempts"][-1]["exit_status"] == 1


def test_a_second_signal_ends_a_worker_at_once(task: Path, tmp_path: Path, address: str) -> None:
    run = start_open(tmp_path, task, address, replicas=1, model_args="seconds=1", limit=20)
    machine = join(address, "--replicas", "1", secret_file=until_open(run))
    run.until(lambda: answers_of(run, f"{HOST}.0") > 0, "an answer of the joined one")
    workers = machine.workers()
    for _ in range(2):
        machine.process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert machine.wait() == 130
    assert all(gone(worker) for worker in workers)
    assert run.wait() == 0, run.stderr
    assert_complete(run, 20)
