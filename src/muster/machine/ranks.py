"""Ranks: which process of how many this is, whoever launched it. The only place that reads rank variables."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from muster.core import ConfigurationError
from muster.machine.accelerate import LOOPBACK, machine_rank

log = logging.getLogger(__name__)

Launcher = Literal["torchrun", "openmpi", "mpich", "slurm", "accelerate"]


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among its peers. The global rank names work, the local rank picks the device."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    launcher: Launcher
    attempt: int = 0
    """How often the launcher restarted the whole group (torchrun's `--max-restarts`)."""


class Address(tuple[str, int]):
    """Host and port."""

    __slots__ = ()


def read_ranks(env: Mapping[str, str] = os.environ) -> Ranks | None:
    """The ranks that a launcher set, or None for a process that was started alone.

    torchrun's variables (which accelerate sets too) come first: torchrun inside srun or mpirun starts the
    processes that count. A Slurm batch script is not a task of a step, although it has `SLURM_PROCID`.

    Raises:
        ConfigurationError: a variable is missing, not a number, or out of range.
    """
    for launcher, present, read in _LAUNCHERS:
        if all(name in env for name in present):
            ranks = read(env, launcher)
            if ranks.world_size == 1 and launcher != "torchrun":
                continue  # `srun --pty bash` and the like: one process is a process alone
            _check(ranks)
            return ranks
    return _machine_of_accelerate(env)


def _machine_of_accelerate(env: Mapping[str, str]) -> Ranks | None:
    found = machine_rank(env)
    if found is None:
        return None
    ranks = Ranks(found.rank, found.machines, 0, 1, "accelerate")
    _check(ranks)
    return ranks


def _read_torchrun(env: Mapping[str, str], launcher: Launcher) -> Ranks:
    if "LOCAL_WORLD_SIZE" not in env and (ranks := _exported_by_hand(env)) is not None:
        return ranks
    world_size = _number(env, "WORLD_SIZE")
    return Ranks(
        rank=_number(env, "RANK"),
        world_size=world_size,
        local_rank=_number(env, "LOCAL_RANK") if "LOCAL_RANK" in env or world_size > 1 else 0,
        local_world_size=_number(env, "LOCAL_WORLD_SIZE", default=world_size),
        launcher=launcher,
        attempt=_number(env, "TORCHELASTIC_RESTART_COUNT", default=0),
    )


def _exported_by_hand(env: Mapping[str, str]) -> Ranks | None:
    """The launcher's own ranks where RANK and WORLD_SIZE were exported from them, as batch scripts do.

    torchrun says how many processes share a node (LOCAL_WORLD_SIZE), and such a script doesn't. None where that is all
    of them, because nothing speaks of other nodes.

    Raises:
        ConfigurationError: the launcher's variables say otherwise, or there may be several nodes and nobody tells.
    """
    rank, world_size = _number(env, "RANK"), _number(env, "WORLD_SIZE")
    for launcher, present, read in _LAUNCHERS[1:]:
        if all(name in env for name in present):
            ranks = read(env, launcher)
            if (ranks.rank, ranks.world_size) == (rank, world_size):
                return ranks
            if ranks.world_size > 1:
                raise ConfigurationError(
                    f"RANK={rank} and WORLD_SIZE={world_size} say otherwise than {launcher}'s own variables (rank "
                    f"{ranks.rank} of {ranks.world_size}): unset RANK and WORLD_SIZE, or export LOCAL_WORLD_SIZE too"
                )
    if world_size > 1 and env.get("MASTER_ADDR", "localhost") not in LOOPBACK:
        raise ConfigurationError(
            f"RANK and WORLD_SIZE are set, and MASTER_ADDR={env['MASTER_ADDR']} may be another machine, but not how "
            "many processes share this one: export LOCAL_WORLD_SIZE, or start with torchrun, srun or mpirun alone"
        )
    return None


def _read_openmpi(env: Mapping[str, str], launcher: Launcher) -> Ranks:
    return Ranks(
        rank=_number(env, "OMPI_COMM_WORLD_RANK"),
        world_size=_number(env, "OMPI_COMM_WORLD_SIZE"),
        local_rank=_number(env, "OMPI_COMM_WORLD_LOCAL_RANK"),
        local_world_size=_number(env, "OMPI_COMM_WORLD_LOCAL_SIZE"),
        launcher=launcher,
    )


def _read_mpich(env: Mapping[str, str], launcher: Launcher) -> Ranks:
    return Ranks(
        rank=_number(env, "PMI_RANK"),
        world_size=_number(env, "PMI_SIZE"),
        local_rank=_number(env, "MPI_LOCALRANKID"),
        local_world_size=_number(env, "MPI_LOCALNRANKS"),
        launcher=launcher,
    )


def _read_slurm(env: Mapping[str, str], launcher: Launcher) -> Ranks:
    per_node = tasks_per_node(env.get("SLURM_STEP_TASKS_PER_NODE", env["SLURM_STEP_NUM_TASKS"]))
    node = _number(env, "SLURM_NODEID", default=0)
    return Ranks(
        rank=_number(env, "SLURM_PROCID"),
        world_size=_number(env, "SLURM_STEP_NUM_TASKS"),
        local_rank=_number(env, "SLURM_LOCALID"),
        local_world_size=per_node[min(node, len(per_node) - 1)],
        launcher=launcher,
        attempt=_number(env, "SLURM_RESTART_COUNT", default=0),
    )


_LAUNCHERS: tuple[tuple[Launcher, tuple[str, ...], Callable[[Mapping[str, str], Launcher], Ranks]], ...] = (
    ("torchrun", ("RANK", "WORLD_SIZE"), _read_torchrun),
    ("openmpi", ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), _read_openmpi),
    ("mpich", ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"), _read_mpich),
    ("slurm", ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"), _read_slurm),
)


def _number(env: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = env.get(name)
    if text is None:
        if default is not None:
            return default
        raise ConfigurationError(
            f"the launcher set some rank variables but not {name}: start with torchrun, accelerate, srun or "
            "mpirun, or unset RANK and WORLD_SIZE to run one process"
        )
    try:
        return int(text)
    except ValueError:
        raise ConfigurationError(f"{name}={text!r} is not a number; unset it or fix the launcher") from None


def _check(ranks: Ranks) -> None:
    if not 0 <= ranks.rank < ranks.world_size:
        raise ConfigurationError(f"rank {ranks.rank} is not below the world size {ranks.world_size}")
    if not 0 <= ranks.local_rank < ranks.local_world_size:
        raise ConfigurationError(
            f"local rank {ranks.local_rank} is not below the local world size {ranks.local_world_size}; "
            "was a global rank passed as LOCAL_RANK?"
        )


def tasks_per_node(text: str) -> list[int]:
    """Slurm's `2(x3),1` as `[2, 2, 2, 1]`."""
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if match is None:
            raise ConfigurationError(f"cannot read Slurm's tasks per node: {text!r}")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def idle_slurm_tasks(env: Mapping[str, str] = os.environ) -> int:
    """How many tasks this Slurm job has, where this process is none of them: typed in a batch script, or under salloc.

    0 where nothing speaks for a forgotten `srun`. A step of one task has `SLURM_NTASKS=1`, whatever its job has.
    """
    tasks = env.get("SLURM_NTASKS", "") if "SLURM_JOB_ID" in env and read_ranks(env) is None else ""
    return int(tasks) if tasks.isdigit() and int(tasks) > 1 else 0


def first_host(node_list: str) -> str:
    """The first host of a Slurm node list: `gpu[003-005,9],x1` gives `gpu003`."""
    match = re.match(r"(?:[^\[\],]|\[[^\]]*\])+", node_list)
    if match is None:
        raise ConfigurationError(f"cannot read Slurm's node list: {node_list!r}")
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", match[0])


def master_address(ranks: Ranks, env: Mapping[str, str] = os.environ) -> Address:
    """Where the group meets: MASTER_ADDR and MASTER_PORT, or what the launcher's own variables imply.

    Raises:
        ConfigurationError: several nodes and no way to know where to meet.
    """
    host = env.get("MASTER_ADDR")
    if host is None and ranks.local_world_size == ranks.world_size:
        host = "127.0.0.1"
    if host is None and ranks.launcher == "slurm":
        host = _slurm_address(first_host(env.get("SLURM_STEP_NODELIST", env.get("SLURM_JOB_NODELIST", ""))))
    if host is None:
        raise ConfigurationError(
            "several nodes, but MASTER_ADDR is not set: export the address of rank 0's node as MASTER_ADDR"
        )
    return Address((host, _number(env, "MASTER_PORT", default=_default_port(env))))


def _slurm_address(node: str) -> str:
    """The node's name where it resolves, else the address by which Slurm itself reaches it.

    On clusters whose nodes are in no name service Slurm's configuration alone knows the addresses (NodeAddr).
    """
    try:
        socket.getaddrinfo(node, None)
        return node
    except OSError:
        log.debug("%s does not resolve; asking Slurm", node)
    try:
        shown = subprocess.run(
            ["scontrol", "show", "node", node, "--oneliner"],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        log.debug("scontrol does not tell the address of %s: %s", node, error)
        return node  # whoever connects will say that this name is not known
    match = re.search(r"\bNodeAddr=(\S+)", shown)
    return match[1] if match is not None else node


def _default_port(env: Mapping[str, str]) -> int:
    """The same on every rank of a job's step, different for jobs and steps that share a node."""
    job = env.get("SLURM_JOB_ID") or env.get("PMIX_NAMESPACE") or env.get("OMPI_MCA_orte_hnp_uri") or ""
    digits = int("".join(character for character in job if character.isdigit())[-9:] or 0)
    step = env.get("SLURM_STEP_ID", "")
    return 20_000 + (digits + 131 * int(step if step.isdigit() else 0)) % 10_000


def host_name() -> str:
    """This machine's name, for messages."""
    return socket.gethostname()
