"""Rank variables of every launcher, as they were seen in the wild, and the mistakes people make with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from muster.core import ConfigurationError
from muster.machine.accelerate import accelerate_processes
from muster.machine.interfaces import interface_address, matches
from muster.machine.ranks import (
    Ranks,
    first_host,
    idle_slurm_tasks,
    master_address,
    read_ranks,
    tasks_per_node,
)

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
SLURM = {
    "SLURM_PROCID": "3",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "3,2",
    "SLURM_STEP_NODELIST": "gpu[003-004]",
    "SLURM_JOB_ID": "4711",
}


def test_a_process_alone_has_no_ranks() -> None:
    assert read_ranks({"PATH": "/bin"}) is None


def test_torchrun() -> None:
    assert read_ranks(TORCHRUN | {"TORCHELASTIC_RESTART_COUNT": "2"}) == Ranks(5, 8, 1, 4, "torchrun", 2)


def test_accelerate_without_local_world_size() -> None:
    ranks = read_ranks({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"})
    assert ranks is not None
    assert ranks.local_world_size == 2


BY_HAND = {"RANK": "3", "WORLD_SIZE": "5", "LOCAL_RANK": "0", "MASTER_ADDR": "gpu003"}
"""What batch scripts export from Slurm's variables."""


def test_ranks_exported_by_hand_under_srun_go_by_the_nodes_own_tasks() -> None:
    """WORLD_SIZE was taken for LOCAL_WORLD_SIZE: on two nodes of one GPU, "2 processes share 1 GPU"."""
    assert read_ranks(SLURM | BY_HAND) == Ranks(3, 5, 0, 2, "slurm")
    assert read_ranks(SLURM | {name: BY_HAND[name] for name in ("RANK", "WORLD_SIZE")}) == Ranks(
        3, 5, 0, 2, "slurm"
    )


def test_ranks_exported_by_hand_under_mpirun() -> None:
    env = {
        "OMPI_COMM_WORLD_RANK": "2",
        "OMPI_COMM_WORLD_SIZE": "4",
        "OMPI_COMM_WORLD_LOCAL_RANK": "0",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    }
    assert read_ranks(env | {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "0"}) == Ranks(
        2, 4, 0, 2, "openmpi"
    )


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (SLURM | BY_HAND | {"RANK": "1"}, "RANK=1 and WORLD_SIZE=5 say otherwise than slurm's own variables"),
        (BY_HAND, "export LOCAL_WORLD_SIZE"),
    ],
)
def test_ranks_by_hand_that_cant_be_placed_are_asked_about(env: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_ranks(env)


def test_ranks_by_hand_on_one_machine() -> None:
    assert read_ranks(BY_HAND | {"MASTER_ADDR": "127.0.0.1"}) is not None


def test_accelerates_configuration_file_says_what_its_command_line_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`accelerate config` wrote two machines; its simple launcher starts one process on each, and sets no ranks."""
    (tmp_path / "accelerate").mkdir()
    config = tmp_path / "accelerate" / "default_config.yaml"
    config.write_text("num_machines: 2\nmachine_rank: 1\nnum_processes: 2\n")
    env = {"ACCELERATE_USE_CPU": "False", "MASTER_ADDR": "10.0.0.1", "HF_HOME": str(tmp_path)}
    assert read_ranks(env) == Ranks(1, 2, 0, 1, "accelerate")
    config.write_text("num_machines: 1\nnum_processes: 3\n")
    assert read_ranks(env | {"MASTER_ADDR": "127.0.0.1"}) is None
    assert accelerate_processes(env | {"MASTER_ADDR": "127.0.0.1"}) == 3
    config.write_text("num_machines: [")
    with pytest.raises(ConfigurationError, match="--num_machines and --machine_rank"):
        read_ranks(env)


def test_open_mpi() -> None:
    env = {
        "OMPI_COMM_WORLD_RANK": "2",
        "OMPI_COMM_WORLD_SIZE": "4",
        "OMPI_COMM_WORLD_LOCAL_RANK": "0",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    }
    assert read_ranks(env) == Ranks(2, 4, 0, 2, "openmpi")


def test_mpich() -> None:
    env = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
    assert read_ranks(env) == Ranks(1, 2, 1, 2, "mpich")


def test_srun() -> None:
    assert read_ranks(SLURM) == Ranks(3, 5, 0, 2, "slurm")


def test_a_slurm_batch_script_is_not_a_rank() -> None:
    """It has SLURM_PROCID=0 and SLURM_NTASKS, and would wait for ranks that nobody starts."""
    assert (
        read_ranks({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "1"})
        is None
    )


def test_an_interactive_step_of_one_task_is_a_process_alone() -> None:
    assert read_ranks(SLURM | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}) is None


@pytest.mark.parametrize(
    ("env", "tasks"),
    [
        (
            {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},
            8,
        ),  # a batch script
        ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4"}, 4),  # salloc's shell
        ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "1"}, 0),
        (SLURM | {"SLURM_NTASKS": "5"}, 0),  # a task
        (SLURM | {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, 0),  # srun -n1
        ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4"} | TORCHRUN, 0),
        ({"SLURM_NTASKS": "4"}, 0),  # left over in a shell
    ],
)
def test_a_forgotten_srun_is_noticed(env: dict[str, str], tasks: int) -> None:
    assert idle_slurm_tasks(env) == tasks


def test_torchrun_inside_srun_goes_by_torchrun() -> None:
    ranks = read_ranks(SLURM | TORCHRUN)
    assert ranks is not None
    assert (ranks.rank, ranks.launcher) == (5, "torchrun")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"RANK": "8"}, "rank 8 is not below the world size 8"),
        ({"LOCAL_RANK": "5"}, "was a global rank passed as LOCAL_RANK?"),
        ({"RANK": "one"}, "RANK='one' is not a number"),
    ],
)
def test_wrong_variables_are_named(change: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message.replace("?", r"\?")):
        read_ranks(TORCHRUN | change)


def test_a_missing_local_rank_is_named() -> None:
    env = {name: value for name, value in TORCHRUN.items() if name != "LOCAL_RANK"}
    with pytest.raises(ConfigurationError, match="LOCAL_RANK"):
        read_ranks(env)


@pytest.mark.parametrize(("text", "counts"), [("2(x3),1", [2, 2, 2, 1]), ("4", [4]), ("1,2(x2)", [1, 2, 2])])
def test_tasks_per_node(text: str, counts: list[int]) -> None:
    assert tasks_per_node(text) == counts


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("gpu[003-005,9],x1", "gpu003"),
        ("node1", "node1"),
        ("a,b", "a"),
        ("rack[1-2]-n[01-04]", "rack1-n01"),
        ("n[7]", "n7"),
    ],
)
def test_first_host(nodes: str, host: str) -> None:
    assert first_host(nodes) == host


def test_where_the_group_meets() -> None:
    slurm = read_ranks(SLURM)
    assert slurm is not None
    assert master_address(slurm, SLURM) == ("gpu003", 24711)
    one_node = Ranks(0, 2, 0, 2, "openmpi")
    assert master_address(one_node, {})[0] == "127.0.0.1"
    assert master_address(one_node, {"MASTER_ADDR": "h", "MASTER_PORT": "5"}) == ("h", 5)
    with pytest.raises(ConfigurationError, match="MASTER_ADDR"):
        master_address(Ranks(0, 4, 0, 2, "openmpi"), {})


def test_interfaces_by_name_prefix_and_exclusion() -> None:
    assert matches("eth0", "eth")
    assert matches("eth0", "=eth0")
    assert not matches("eth0", "=eth")
    assert not matches("docker0", "^docker,lo")
    assert matches("ib0", "^docker,lo")
    assert interface_address({}) is None
    assert interface_address({"GLOO_SOCKET_IFNAME": "lo"}) == "127.0.0.1"
    with pytest.raises(ConfigurationError, match=r"NCCL_SOCKET_IFNAME=nope0: no such network interface.*lo"):
        interface_address({"NCCL_SOCKET_IFNAME": "nope0"})
