"""`muster doctor` as real processes: alone, under launchers, with real things wrong."""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from muster.core import RunError
from muster.doctor import exchange
from muster.doctor.examination import Report
from muster.doctor.gpus import expect_gpus, see_devices
from muster.doctor.network import listener_on
from muster.doctor.observation import Backend, Collective, Observation
from muster.doctor.surroundings import see_folder, see_settings
from muster.doctor.within import within
from muster.machine import rendezvous
from muster.machine.ranks import Ranks
from processes import DEADLINE, start_muster, torchrun
from small_launcher import hold_port

ALONE = {
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "CUDA_VISIBLE_DEVICES",
}
PAIR = {
    "RANK": "0",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
}
SECOND = PAIR | {"RANK": "1", "LOCAL_RANK": "1"}


@dataclasses.dataclass
class Ended:
    status: int
    stdout: str
    stderr: str

    @property
    def report(self) -> Report:
        return msgspec.json.decode(self.stdout, type=Report)

    @property
    def errors(self) -> list[str]:
        return [finding.what for finding in self.report.findings if finding.severity == "error"]


def begin(
    *options: str, env: Mapping[str, str] | None = None, launcher: Sequence[str] = ()
) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ALONE}
    variables = {**clean, "OMP_NUM_THREADS": "1", **(env or {})}
    if not launcher:
        return start_muster("doctor", *options, env=variables)
    return subprocess.Popen(
        [*launcher, "-m", "muster", "doctor", *options],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def end(process: subprocess.Popen[str]) -> Ended:
    stdout, stderr = process.communicate(timeout=DEADLINE)
    return Ended(process.returncode, stdout, stderr)


def doctor(*options: str, env: Mapping[str, str] | None = None, launcher: Sequence[str] = ()) -> Ended:
    return end(begin(*options, env=env, launcher=launcher))


@pytest.fixture
def listener() -> Iterator[int]:
    """A port on which something listens that never says a word."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port at which nobody listens, and that nobody else is given."""
    with hold_port() as held:
        yield held.getsockname()[1]


def test_quick_and_alone_it_imports_no_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')\n")
    ended = doctor("--quick", env={"PYTHONPATH": str(tmp_path)})
    assert ended.status == 0, ended.stdout + ended.stderr
    assert "launcher" in ended.stdout
    assert "torch " in ended.stdout  # its version is told nevertheless
    assert "not tried" in ended.stdout


def test_alone_with_an_interface_that_does_not_exist() -> None:
    """Both what is wrong and the real all_reduce that fails of it, explained."""
    ended = doctor("--json", "--timeout", "150", env={"GLOO_SOCKET_IFNAME": "nope0"})
    assert ended.status == 1
    assert any("GLOO_SOCKET_IFNAME=nope0: no such network interface" in error for error in ended.errors)
    failed = next(f for f in ended.report.findings if "all_reduce over Gloo failed" in f.what)
    assert "GLOO_SOCKET_IFNAME names no usable interface" in failed.do


def test_two_ranks_under_torchrun() -> None:
    ended = doctor("--json", "--timeout", "150", launcher=torchrun(2))
    assert ended.status == 0, ended.stdout + ended.stderr
    observations = ended.report.observations
    assert [each.rank for each in observations] == [0, 1]
    assert len({each.pid for each in observations}) == 2
    for each in observations:
        assert each.ranks is not None
        assert (each.ranks.local_world_size, each.ranks.launcher) == (2, "torchrun")
        assert each.collective is not None
        assert each.collective.ok, each.collective.problem
        assert each.skew is not None
        assert abs(each.skew) < 30  # one machine, one clock; not a promise on speed
        assert {folder.use for folder in each.folders} >= {"output", "cache", "tmp"}
        assert all(folder.free > 0 for folder in each.folders)


def test_a_port_that_is_really_taken(listener: int) -> None:
    ended = doctor("--json", "--timeout", "5", env=PAIR | {"MASTER_PORT": str(listener)})
    assert ended.status == 1
    assert len(ended.errors) == 1
    assert f"the rendezvous port {listener} on" in ended.errors[0]
    assert f"is taken by pid {os.getpid()} (" in ended.errors[0]


def test_ranks_that_never_start_are_named(free_port: int) -> None:
    """Rank 0 without rank 1, and elsewhere rank 1 without rank 0."""
    lonely = begin("--json", "--timeout", "3", env=PAIR | {"MASTER_PORT": str(free_port)})
    with hold_port() as other:
        nowhere = {"MASTER_PORT": str(other.getsockname()[1])}
        orphan = begin("--json", "--timeout", "3", env=SECOND | nowhere)
        first, second = end(lonely), end(orphan)
    assert first.status == 1
    assert first.errors == ["1 of 2 ranks did not come within 3 s: rank 1"]
    tested = first.report.observations[0].collective
    assert tested is not None
    assert tested.ok  # with those that came
    assert (second.status, second.stdout) == (1, "")
    assert "rank 1 could not reach the rendezvous at 127.0.0.1" in second.stderr


def test_two_launchers_that_disagree() -> None:
    outer = {
        "OMPI_COMM_WORLD_RANK": "1",
        "OMPI_COMM_WORLD_SIZE": "4",
        "OMPI_COMM_WORLD_LOCAL_RANK": "1",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
    }
    stale = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    ended = doctor("--quick", "--json", env=outer | stale)
    assert ended.status == 1
    assert "RANK says rank 0 of 1, OMPI_COMM_WORLD_RANK says rank 1 of 4" in ended.errors[0]


def test_a_global_rank_passed_as_local_rank() -> None:
    env = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "2"}
    ended = doctor("--quick", "--json", env=env)
    assert ended.status == 1
    assert "was a global rank passed as LOCAL_RANK?" in ended.errors[0]


def test_more_processes_than_gpus(free_port: int) -> None:
    here = {"CUDA_VISIBLE_DEVICES": "0", "MASTER_PORT": str(free_port)}
    other = begin("--quick", env=SECOND | here)
    ended = doctor("--quick", "--json", env=PAIR | here)
    assert end(other).status == 0  # only rank 0 speaks, for all
    assert ended.status == 1
    found = next(f for f in ended.report.findings if "more processes than GPUs" in f.what)
    assert "2 processes on this node share 1 GPU(s)" in found.what
    assert found.ranks == [0, 1]


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="Open MPI is not installed")
def test_mpirun() -> None:
    launcher = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np", "2", sys.executable]
    ended = doctor("--quick", "--json", launcher=launcher)
    assert ended.status == 0, ended.stdout + ended.stderr
    assert [each.ranks.launcher for each in ended.report.observations if each.ranks] == ["openmpi", "openmpi"]


def test_a_wrong_timeout() -> None:
    assert doctor("--timeout", "0").status == 2


def member(rank: int, world: int = 3) -> tuple[Ranks, Observation]:
    ranks = Ranks(rank, world, rank, world, "torchrun")
    return ranks, Observation("here", 100 + rank, ranks=ranks)


def test_lost_late_and_doubled_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 1 comes twice, rank 2 is lost in the all_reduce, and rank 3 comes when the others have gone on."""
    from torch._C._distributed_c10d import Store, TCPStore

    monkeypatch.setattr(exchange, "_LATER", 0.5)
    monkeypatch.setattr(exchange, "_GOODBYE", 0.2)
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setattr(
        rendezvous, "group_store",
        lambda ranks, timeout: TCPStore("127.0.0.1", server.port, is_master=False, wait_for_workers=False),
    )  # fmt: skip
    gone = threading.Event()
    said: list[str] = []

    def works(store: Store, position: int, size: int, backend: Backend) -> Collective:
        assert size == 3
        return Collective(backend, ok=True)

    def dies(store: Store, position: int, size: int, backend: Backend) -> Collective:
        gone.wait(DEADLINE)
        raise RunError("killed")

    def follow(rank: int, pid: int, test: exchange.Test) -> None:
        ranks, observation = member(rank, 4)
        try:
            exchange.follow(ranks, dataclasses.replace(observation, pid=pid), test, 3)
        except RunError as error:
            said.append(str(error))

    others = [threading.Thread(target=follow, args=each) for each in ((1, 1, works), (2, 2, dies))]
    for thread in others:
        thread.start()
    server.wait(["doctor/observation/1/1", "doctor/observation/2/1"])
    follow(1, 11, works)
    assert "another process is rank 1 already" in said[0]
    seen = exchange.lead(*member(0, 4), lambda observations: "gloo", works, 1)
    gone.set()
    for thread in others:
        thread.join(DEADLINE)
    follow(3, 3, works)
    assert "rank 3 came too late" in said[-1]
    assert [(each.rank, each.pid) for each in seen] == [(0, 100), (1, 1), (2, 2), (1, 11)]
    outcome = {each.pid: each.collective for each in seen}
    assert outcome[1] == Collective("gloo", ok=True)
    lost = outcome[2]
    assert lost is not None
    assert "no result from this rank" in lost.problem


def test_a_listener_that_is_no_rendezvous_does_not_hang_a_rank(
    listener: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_LATER", 0.2)
    for name, value in (SECOND | {"MASTER_PORT": str(listener)}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match="but it is no rendezvous"):
        exchange.follow(*member(1, 2), lambda *_: Collective("gloo", ok=True), 1)


def test_gpus_as_the_driver_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the driver: two GPUs, one half full of somebody else's process."""

    class NVMLError(Exception):
        pass

    def by_index(index: int) -> int:
        if index > 1:
            raise NVMLError("Invalid Argument")
        return index

    running = [SimpleNamespace(pid=os.getpid(), usedGpuMemory=40 << 30)]
    fake = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlSystemGetDriverVersion=lambda: "570.1",
        nvmlSystemGetCudaDriverVersion_v2=lambda: 12080,
        nvmlDeviceGetHandleByIndex=by_index,
        nvmlDeviceGetMemoryInfo=lambda h: SimpleNamespace(total=80 << 30, free=(80 - 40 * h) << 30),
        nvmlDeviceGetUUID=lambda h: f"GPU-{h}",
        nvmlDeviceGetName=lambda h: b"H100",
        nvmlDeviceGetComputeRunningProcesses=lambda h: running if h == 1 else [],
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    seen = see_devices({"CUDA_VISIBLE_DEVICES": "0,1,2"}, Ranks(1, 3, 1, 3, "torchrun"))
    assert (seen.driver, seen.cuda, seen.bound) == ("570.1", "12.8", ["1"])
    assert [gpu.uuid for gpu in seen.gpus] == ["GPU-0", "GPU-1", ""]
    assert seen.gpus[1].free == 40 << 30
    assert seen.gpus[1].processes[0].pid == os.getpid()
    assert "python" in seen.gpus[1].processes[0].name
    assert "Invalid Argument" in seen.gpus[2].problem


def test_what_speaks_for_gpus(tmp_path: Path) -> None:
    nothing = tmp_path / "none"
    assert expect_gpus({}, nothing, nothing) == ""
    assert expect_gpus({"CUDA_VISIBLE_DEVICES": ""}, nothing, nothing) == ""
    assert expect_gpus({"CUDA_VISIBLE_DEVICES": "0,1"}, nothing, nothing) == "CUDA_VISIBLE_DEVICES=0,1"
    assert expect_gpus({"SLURM_JOB_GPUS": "0"}, nothing, nothing) == "SLURM_JOB_GPUS=0"
    card = tmp_path / "0000:17:00.0"
    card.mkdir()
    (card / "vendor").write_text("0x10de\n")
    (card / "class").write_text("0x030200\n")
    assert "0000:17:00.0" in expect_gpus({}, nothing, tmp_path)
    assert expect_gpus({"CUDA_VISIBLE_DEVICES": "-1"}, nothing, tmp_path) == ""


def test_ports_folders_settings_and_limits(listener: int, free_port: int, tmp_path: Path) -> None:
    assert f"pid {os.getpid()}" in listener_on(listener)
    assert listener_on(free_port) == ""
    assert "not a port" in listener_on(70_000)
    (tmp_path / "file").write_text("")
    assert see_folder("output", tmp_path / "file" / "run").problem.endswith("is a file")
    assert see_folder("output", tmp_path / "a" / "b").problem == ""
    told = see_settings({"HF_TOKEN": "hf_x", "NCCL_DEBUG": "INFO", "MUSTER_API_KEY": "k", "HOME": "/"})
    assert told == {"NCCL_DEBUG": "INFO", "MUSTER_API_KEY": "set", "HF_TOKEN": "set"}
    with pytest.raises(TimeoutError, match="the disk gave no answer"):
        within(0.05, "the disk", threading.Event().wait)
