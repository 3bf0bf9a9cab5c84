"""GPUs divided among local processes: the arithmetic, and real NVML answers through a stand-in for the driver."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.core import ConfigurationError
from muster.machine.gpus import bind, share, share_of, visible_gpus
from muster.machine.ranks import Launcher, Ranks


@pytest.mark.parametrize(
    ("variable", "gpus"),
    [
        ("0,1,2", ["0", "1", "2"]),
        ("GPU-8932f937,GPU-1a", ["GPU-8932f937", "GPU-1a"]),
        ("MIG-GPU-8932/1/0,MIG-x", ["MIG-GPU-8932/1/0", "MIG-x"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["0"]),  # CUDA stops at the first invalid entry
        (" 3 , 5 ", ["3", "5"]),
        ("none", []),
        ("NoDevFiles", []),
        ("0,foo,1", ["0"]),
        ("0,0", []),
        ("1,0,1", []),
        ("0x,1gpu", ["0", "1"]),
        ("GPU-a,GPU-a", []),
        ("GPU-a,1", ["GPU-a"]),
        ("MIG-a,GPU-b", ["MIG-a"]),
        ("0,GPU-a", ["0"]),
    ],
)
def test_cuda_visible_devices_is_taken_as_cuda_takes_it(variable: str, gpus: list[str]) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": variable}) == gpus


@pytest.mark.parametrize(
    "variable",
    [
        "0,1",
        "",
        "-1",
        "0,-1,1",
        " 1 , 0 ",
        "none",
        "0,foo,1",
        "0,0",
        "0x,1gpu",
        "+1,0",
        "GPU-a,GPU-b",
        "GPU-a,1",
    ],
)
def test_torch_reads_it_alike(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    seen = [str(each) for each in torch.cuda._parse_visible_devices()]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": variable}) == seen


def test_a_machine_without_a_driver_has_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus({}) == [] or visible_gpus({})[0]  # this machine's own answer, whatever it has


def test_mig_instances_stand_for_their_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs, the second split in two: a GPU in MIG mode can't be used as a whole."""

    class NVMLError(Exception):
        pass

    def mode(device: int) -> tuple[int, int]:
        if device == 0:
            raise NVMLError("not supported")
        return 1, 1

    def instance(device: int, slot: int) -> str:
        if slot > 1:
            raise NVMLError("empty slot")
        return f"MIG-{device}-{slot}"

    fake = SimpleNamespace(
        NVMLError=NVMLError,
        NVML_DEVICE_MIG_ENABLE=1,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMigMode=mode,
        nvmlDeviceGetMaxMigDeviceCount=lambda device: 7,
        nvmlDeviceGetMigDeviceHandleByIndex=instance,
        nvmlDeviceGetUUID=lambda handle: handle,
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    assert visible_gpus({}) == ["0", "MIG-1-0", "MIG-1-1"]


@given(st.integers(1, 64), st.integers(1, 64))
def test_shares_are_equal_disjoint_and_in_order(gpus: int, processes: int) -> None:
    names = [str(index) for index in range(gpus)]
    if processes > gpus:
        with pytest.raises(ConfigurationError, match="start at most"):
            share(names, 0, processes)
        return
    shares = [share(names, rank, processes) for rank in range(processes)]
    assert {len(each) for each in shares} == {gpus // processes}
    flat = [name for each in shares for name in each]
    assert flat == names[: len(flat)]


def test_without_gpus_everybody_gets_the_cpu() -> None:
    assert share([], 3, 8) == []


@pytest.mark.parametrize(
    ("launcher", "processes", "visible", "on_node", "mine"),
    [
        ("slurm", 2, "0", "2", "0"),  # --gpus-per-task=1: cgroups number each task's GPU 0
        ("slurm", 2, "1", "2", "1"),  # and without cgroups it keeps its number
        ("slurm", 4, "0,1", "8", "0,1"),
        ("slurm", 4, "0,1,2,3", "4", "1"),  # --gpus-per-node: all see all
        ("slurm", 4, "0,1,2,3", "", "1"),  # Slurm knows of no GPUs
        ("slurm", 4, "", "4", ""),  # hidden on purpose
        (
            "torchrun",
            2,
            "0,1",
            "8",
            "1",
        ),  # torchrun in a task of four: its processes share what the task sees
        ("openmpi", 2, "0,1", "8", "1"),
    ],
)
def test_gpus_of_a_task_of_its_own_are_not_shared(
    launcher: Launcher, processes: int, visible: str, on_node: str, mine: str
) -> None:
    """`srun --gpus-per-task=1` once was "more processes than GPUs"."""
    env = {"CUDA_VISIBLE_DEVICES": visible, "SLURM_GPUS_ON_NODE": on_node}
    assert share_of(Ranks(1, processes, 1, processes, launcher), visible_gpus(env), env) == visible_gpus(
        {"CUDA_VISIBLE_DEVICES": mine}
    )


@pytest.mark.parametrize(
    ("processes", "visible", "on_node", "message"),
    [
        (4, "0", "2", "each sees 1 of them"),  # --gpu-bind=single:2: two tasks on one GPU
        (8, "0,1,2,3", "8", "--gpus-per-task"),  # --gpu-bind=closest: four tasks see the same four
        (2, "0", "1", "start at most 1 process"),
    ],
)
def test_gpus_that_several_tasks_might_take_are_refused(
    processes: int, visible: str, on_node: str, message: str
) -> None:
    env = {"SLURM_GPUS_ON_NODE": on_node}
    with pytest.raises(ConfigurationError, match=message):
        share_of(Ranks(1, processes, 1, processes, "slurm"), visible.split(","), env)


def test_bind_sets_the_variable() -> None:
    env: dict[str, str] = {}
    bind(["2", "3"], env)
    assert env == {"CUDA_VISIBLE_DEVICES": "2,3"}
