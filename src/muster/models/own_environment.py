"""What the processes of an inference engine or server see of this one's environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager

LAUNCHERS = frozenset(
    {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "NODE_RANK"}
    | {"ROLE_RANK", "ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT"}
)
PREFIXES = ("TORCHELASTIC_", "OMPI_COMM_WORLD_", "PMI_", "PMIX_", "MPI_LOCAL", "ACCELERATE_")
"""Variables by which torchrun, accelerate and mpirun tell a process its place among the launcher's ranks. An engine's
process group is its own; with these it would wait for the launcher's."""
FORCED = {
    # This process has threads, whose locks a fork would inherit, and the keeper's pipe, which must break when it ends.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
DEFAULTS = {
    "VLLM_HOST_IP": "127.0.0.1",  # a replica's processes are all on this machine
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
"""Unless the user has set them."""


@contextmanager
def own_environment(
    more: Mapping[str, str] | None = None, env: MutableMapping[str, str] = os.environ
) -> Iterator[None]:
    """While processes are started that must not take this one's ranks for theirs. This one needs its ranks later.

    `more`: variables for them.
    """
    more = more or {}
    hidden = {name: env[name] for name in env if name in LAUNCHERS or name.startswith(PREFIXES)}
    replaced = {name: env[name] for name in more if name in env}
    for name in hidden:
        del env[name]
    env.update({**FORCED, **more})
    for name, value in DEFAULTS.items():
        env.setdefault(name, value)
    try:
        yield
    finally:
        for name in more:
            env.pop(name, None)
        env.update({**hidden, **replaced})
