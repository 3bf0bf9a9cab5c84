"""Ranks that never leave: a launcher waits for each process that it started, also for one that hangs or is stopped."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from muster.core import ConfigurationError
from muster.engines.resume_watch import state_and_parent
from muster.machine.given_coordinator import ADDRESS
from muster.machine.ranks import read_ranks

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2
_GROUP = (
    "MASTER_ADDR",
    "MASTER_PORT",
    "WORLD_SIZE",
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "OMPI_COMM_WORLD_SIZE",
    ADDRESS,
)
"""Variables that are the same for all ranks of a group."""


class LeftoverRank(NamedTuple):
    """A process of this node's launcher, and its rank."""

    pid: int
    rank: int


def siblings(ranks: Collection[int]) -> list[LeftoverRank]:
    """Those of these ranks that this process's own launcher has started on this node and that still exist.

    Found in Linux's /proc; elsewhere there are none.
    """
    return [found for found in _siblings() if found.rank in ranks]


def end_leftover_ranks(ranks: Collection[int], patience: float) -> None:
    """Give these ranks `patience` seconds to end by themselves, then kill those that are on this node.

    For the very end: the launcher answers a killed rank by ending the whole group.
    """
    limit = time.monotonic() + patience
    while left := siblings(ranks):
        if time.monotonic() > limit:
            names = ", ".join(f"rank {rank} (process {pid})" for pid, rank in left)
            log.warning("%s did not end within %.0f s of the run's end: killed", names, patience)
            for rank in left:
                _kill(rank.pid)
            return
        time.sleep(_LOOK_SECONDS)


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped by a signal and stands still; False where that can't be seen."""
    try:
        return state_and_parent(pid)[0] == "T"
    except (OSError, ValueError):
        return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError as error:
        log.debug("process %d is gone: %s", pid, error)


def _siblings() -> Iterator[LeftoverRank]:
    launcher, mine = os.getppid(), Path("/proc/self")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            _state, parent = state_and_parent(process.name)
            if parent != launcher or int(process.name) == os.getpid():
                continue
            variables = _environment(process)
            ranks = read_ranks(variables)
            one_node = (process / "ns/net").readlink() == (mine / "ns/net").readlink()
        except (OSError, ValueError, ConfigurationError):
            continue  # it ended meanwhile, is somebody else's, or no rank
        # A shell may have started the ranks of several groups.
        if (
            ranks is not None
            and one_node
            and all(variables.get(name) == os.environ.get(name) for name in _GROUP)
        ):
            yield LeftoverRank(int(process.name), ranks.rank)


def _environment(process: Path) -> dict[str, str]:
    lines = (process / "environ").read_bytes().decode(errors="replace").split("\0")
    return dict(line.split("=", 1) for line in lines if "=" in line)
