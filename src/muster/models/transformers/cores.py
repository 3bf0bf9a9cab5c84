"""Whether a replica has a core to spare for preparing batches in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping

from muster.models.transformers.options import Preparation

LOCAL_WORKERS = ("MUSTER_LOCAL_WORKERS", "LOCAL_WORLD_SIZE")
"""Variables that say how many workers share this machine, the engine's own word first."""

ENOUGH = 2
"""Cores: one for the replica, which holds the interpreter lock through most of `generate`, and one to prepare."""


def wants_process(preparation: Preparation, env: Mapping[str, str] = os.environ) -> bool:
    """Whether batches are to be prepared in a process beside the replica's.

    `auto` says yes where the cores that this process may use, shared among the machine's workers, are enough.
    """
    if preparation == "auto":
        return usable_cores() // _local_workers(env) >= ENOUGH
    return preparation == "process"


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _local_workers(env: Mapping[str, str]) -> int:
    for name in LOCAL_WORKERS:
        value = env.get(name, "")
        if value.isdecimal() and int(value) > 0:
            return int(value)
    return 1
