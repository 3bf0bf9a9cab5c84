"""One look at this process and its machine. Needs no torch; every part has a limit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from muster.doctor.gpus import see_devices
from muster.doctor.network import see_network
from muster.doctor.observation import Observation
from muster.doctor.rank_claims import rank_variables, usable_ranks
from muster.doctor.replicas import see_replica
from muster.doctor.surroundings import see_folders, see_settings, see_versions
from muster.engines.placement import Asked
from muster.machine.accelerate import accelerate_processes
from muster.machine.ranks import host_name


def look(env: Mapping[str, str], output: Path, asked: Asked | None = None) -> Observation:
    """What this process sees; `output` is where its run folder would be, `asked` what one replica is to be."""
    ranks, problem = usable_ranks(env)
    devices = see_devices(env, ranks)
    replica = see_replica(asked, ranks, devices.visible)
    return Observation(
        host=host_name(),
        pid=os.getpid(),
        machine=_machine(),
        ranks=ranks,
        ranks_problem=problem,
        variables=rank_variables(env),
        accelerate=any(name.startswith("ACCELERATE_") for name in env),
        accelerate_processes=accelerate_processes(env),
        cpus=sorted(os.sched_getaffinity(0)),
        devices=devices,
        replica=replica.part,
        replica_problem=replica.problem,
        network=see_network(env, ranks),
        folders=see_folders(env, output),
        versions=see_versions(),
        settings=see_settings(env),
    )


def _machine() -> str:
    """The machine's current boot and this process's network: hosts that share a name differ here."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot[:8]}-{Path('/proc/self/ns/net').readlink()}"
    except OSError:
        return ""
