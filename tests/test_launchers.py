"""Launchers other than torchrun, started for real: Slurm, Open MPI, accelerate on several machines.

Ranks that a launcher starts but does not tell about each other each evaluate everything, and nobody notices.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fork_server import launched_python
from gates import gate, open_when_all_answer
from netns import Host, Network, listing, needs_namespaces, network
from processes import Run, fake, start_program, write_benchmark
from slurm_cluster import Slurm, needs_slurm, start_slurm

pytestmark = [pytest.mark.root, pytest.mark.slow]
needs_mpi = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mpirun") is None,
    reason="needs root and Open MPI (Debian: openmpi-bin)",
)
SAMPLES = 100


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Network]:
    with network(tmp_path, 2) as made:
        yield made


def muster(task: Path, output: Path | str, **options: object) -> list[str]:
    """The command that every launcher is given."""
    given: dict[str, object] = {
        "model": "demo",
        "tasks": task,
        "backend": fake("Echo"),
        "progress": "plain",
        "output": output,
        "worker_timeout": 20,
        "rendezvous_timeout": 200,
        **options,
    }
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return ["-m", "muster", "run", *words]


def start(command: Sequence[str], output: Path, env: Mapping[str, str], on: Host | None = None) -> Run:
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": on and on.disk}
    return Run(start_program(command, on=on, env=env, **streams), output)


def assert_complete(run: Run, workers: int | None = None) -> None:
    task = run.results().tasks["echo"]
    assert (task.samples.succeeded, task.samples.errored) == (SAMPLES, 0), run.logs()
    answered = Counter(record.completion.key for record in run.journal())
    assert len(answered) == SAMPLES
    assert set(answered.values()) == {1}
    if workers is not None:
        names = {f"worker-{number}" for number in range(workers)}
        assert {record.worker for record in run.journal()} == names


# -- Open MPI


def mpirun(*options: str) -> list[str]:
    return ["mpirun", "--allow-run-as-root", "--oversubscribe", *options]


@needs_mpi
def test_mpirun(tmp_path: Path) -> None:
    """Rank 0 hosts the meeting point itself. A second run has nothing to do, and its ranks don't wait for work."""
    task = write_benchmark(tmp_path / "bench", SAMPLES)
    command = [*mpirun("-np", "2"), sys.executable, *muster(task, tmp_path / "run", **gate(tmp_path))]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = start(command, tmp_path / "run", env)
    open_when_all_answer(run, 2, tmp_path)
    assert run.wait() == 0, run.stderr
    assert_complete(run, 2)
    again = start(command, tmp_path / "run", env)
    assert again.wait() == 0, again.stderr


@needs_mpi
def test_mpirun_with_a_mistake_or_a_taken_port_ends_all_ranks(tmp_path: Path) -> None:
    python = launched_python(tmp_path)
    task = write_benchmark(tmp_path / "bench", SAMPLES)
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        env = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_PORT": port}
        options = muster(task, tmp_path / "run", rendezvous_timeout=5)
        run = start([*mpirun("-np", "2"), python, *options], tmp_path / "run", env)
        assert run.wait() != 0
        assert f"the rendezvous port {port} on 127.0.0.1 is taken" in run.stderr
    options = muster(tmp_path / "none.yaml", tmp_path / "none")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = start([*mpirun("-np", "2"), python, *options], tmp_path / "none", env)
    assert run.wait() == 2, run.stderr


@needs_mpi
@needs_namespaces
def test_mpirun_on_two_hosts(two: Network, tmp_path: Path) -> None:
    """mpirun reaches the second host by an agent that enters it, where others use ssh."""
    first, second = two.hosts
    agent = tmp_path / "agent"
    words = " ".join(f"'{word}'" for word in second.command())
    agent.write_text(f'#!/bin/sh\nshift\nexec {words} sh -c "$*"\n')
    agent.chmod(0o755)
    task = write_benchmark(first.disk / "bench", SAMPLES)
    launcher = mpirun("--mca", "plm_rsh_agent", str(agent), "--mca", "oob_tcp_if_include", "eth0")
    launcher += ["--host", f"{first.address}:2,{second.address}:2", "-x", f"MASTER_ADDR={first.address}"]
    options = muster(task, first.disk / "run", **gate(first.disk, 0.2))
    command = [*launcher, launched_python(tmp_path), *options]
    run = start(command, first.disk / "run", first.environment(), first)
    open_when_all_answer(run, 4, first.disk)
    assert run.wait() == 0, run.stderr
    assert_complete(run, 4)
    assert "run" not in listing(second.disk)


# -- accelerate

ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch"]


def accelerate(host: Host, kind: str, processes: int) -> list[str]:
    machines = [
        "--num_machines",
        "2",
        "--machine_rank",
        str(host.number - 1),
        "--num_processes",
        str(processes),
    ]
    meeting = ["--main_process_ip", "10.77.0.1", "--main_process_port", "29501"]
    return [
        *ACCELERATE,
        *([kind] if kind else []),
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        *machines,
        *meeting,
    ]


@needs_namespaces
@pytest.mark.parametrize("kind", ["", "--multi_gpu"], ids=["plain", "multi_gpu"])
def test_accelerate_on_two_machines(two: Network, kind: str) -> None:
    """Without `--multi_gpu` it starts one process on each machine, without ranks; with `--multi_gpu` it is torchrun."""
    first, second = two.hosts
    task = write_benchmark(first.disk / "bench", SAMPLES)
    options = muster(task, "run", **gate(first.disk, 0.2))
    runs = [
        start([*accelerate(host, kind, 2), *options], host.disk / "run", host.environment(), host)
        for host in two.hosts
    ]
    open_when_all_answer(runs[0], 2, first.disk)
    assert [run.wait() for run in runs] == [0, 0], "\n".join(run.stderr for run in runs)
    assert_complete(runs[0], 2)
    assert listing(second.disk) == set()


# -- Slurm


@pytest.fixture
def slurm(two: Network, tmp_path: Path) -> Slurm:
    return start_slurm(two, tmp_path / "slurm")


@needs_namespaces
@needs_slurm
def test_srun(two: Network, slurm: Slurm, tmp_path: Path) -> None:
    """The nodes' names resolve nowhere: the meeting point is the address that Slurm itself uses."""
    first, second = two.hosts
    task = write_benchmark(first.disk / "bench", SAMPLES)
    srun = ["srun", "-N2", "-n4", launched_python(tmp_path)]
    command = [*srun, *muster(task, first.disk / "run", **gate(first.disk, 0.2))]
    run = start(command, first.disk / "run", slurm.environment(), first)
    open_when_all_answer(run, 4, first.disk)
    assert run.wait() == 0, run.stderr + slurm.logs()
    assert_complete(run, 4)
    assert listing(second.disk) == set()
    wrong = [*srun, *muster(first.disk / "no.yaml", first.disk / "no")]
    run = start(wrong, first.disk / "no", slurm.environment(), first)
    assert run.wait() == 2, run.stderr  # at once: the other ranks are told that nothing will come
