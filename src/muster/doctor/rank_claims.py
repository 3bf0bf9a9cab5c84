"""What each launcher's variables say about this process. Several may be set, and they may disagree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from muster.core import ConfigurationError
from muster.machine.ranks import Launcher, Ranks, read_ranks

_TORCH = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
_OPENMPI = (
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
)
_MPICH = ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS")
_SLURM = (
    "SLURM_PROCID",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_LOCALID",
    "SLURM_NODEID",
    "SLURM_STEP_TASKS_PER_NODE",
    "SLURM_RESTART_COUNT",
)
_BY_LAUNCHER: dict[Launcher, tuple[str, ...]] = {
    "torchrun": _TORCH,
    "openmpi": _OPENMPI,
    "mpich": _MPICH,
    "slurm": _SLURM,
}
_AROUND = (
    "GROUP_RANK",
    "GROUP_WORLD_SIZE",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_USE_AGENT_STORE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "SLURM_NTASKS",
    "SLURM_JOB_ID",
    "SLURM_STEP_NODELIST",
    "SLURM_JOB_NODELIST",
)


@dataclass(frozen=True, slots=True)
class Claim:
    """One launcher's word on which process this is, or why it can't be understood."""

    launcher: Launcher
    ranks: Ranks | None
    problem: str = ""


def rank_variables(env: Mapping[str, str]) -> dict[str, str]:
    """The variables about ranks and the meeting point that are set."""
    names = [name for group in _BY_LAUNCHER.values() for name in group]
    return {name: env[name] for name in (*names, *_AROUND) if name in env}


def claims(variables: Mapping[str, str]) -> list[Claim]:
    """Each launcher's claim, the one that Muster goes by first. A launcher of a single process claims nothing."""
    found: list[Claim] = []
    for launcher, names in _BY_LAUNCHER.items():
        try:
            ranks = read_ranks({name: variables[name] for name in names if name in variables})
        except ConfigurationError as error:
            found.append(Claim(launcher, None, str(error)))
        else:
            if ranks is not None:
                found.append(Claim(launcher, ranks))
    return found


def usable_ranks(env: Mapping[str, str]) -> tuple[Ranks | None, str]:
    """This process's ranks, good enough to meet the others even where the local rank is wrong, and what is wrong."""
    try:
        return read_ranks(env), ""
    except ConfigurationError as error:
        problem = str(error)
    try:
        patched = {**env, "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
        return (read_ranks(patched) if "RANK" in env else None), problem
    except ConfigurationError:
        return None, problem
