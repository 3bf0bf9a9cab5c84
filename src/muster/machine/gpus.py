"""GPUs: which this process may see, found without importing torch, and how local processes share them."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping, MutableMapping, Sequence

from muster.core import ConfigurationError
from muster.machine.ranks import Ranks


def visible_gpus(env: Mapping[str, str] = os.environ) -> list[str]:
    """The GPUs this process may use, as `CUDA_VISIBLE_DEVICES` entries (index, UUID or MIG id).

    Without that variable all that the driver knows; a GPU in MIG mode counts as its instances. The variable is read as
    torch reads it (2.13, `torch.cuda._parse_visible_devices`): indices may have something behind them, the first entry
    that is no index ends the list, and one that stands there twice makes it empty. Whether the driver has such a GPU is
    for `muster doctor` to say.
    """
    listed = env.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return _installed_gpus()
    for prefix in ("GPU-", "MIG-"):
        if listed.startswith(prefix):
            named = []
            for entry in listed.split(","):
                if not entry.startswith(prefix):
                    break
                named.append(entry)
            return named if len(set(named)) == len(named) else []
    indices = list(itertools.takewhile(lambda index: index >= 0, map(_index, listed.split(","))))
    return [] if len(set(indices)) < len(indices) else [str(index) for index in indices]


def _index(entry: str) -> int:
    """The number that an entry begins with, as C's strtoul would have it; -1 where there is none."""
    match = re.match(r"[+-]?\d+", entry.strip())
    return int(match[0]) if match else -1


def _installed_gpus() -> list[str]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []  # no driver: a machine without NVIDIA GPUs
    try:
        gpus: list[str] = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            gpus += _mig_instances(index) or [str(index)]
        return gpus
    finally:
        pynvml.nvmlShutdown()


def _mig_instances(index: int) -> list[str]:
    import pynvml

    device = pynvml.nvmlDeviceGetHandleByIndex(index)
    try:
        mode, _pending = pynvml.nvmlDeviceGetMigMode(device)
        if mode != pynvml.NVML_DEVICE_MIG_ENABLE:
            return []
        count = pynvml.nvmlDeviceGetMaxMigDeviceCount(device)
    except pynvml.NVMLError:
        return []  # not a MIG-capable GPU
    instances: list[str] = []
    for slot in range(count):
        try:
            instance = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(device, slot)
        except pynvml.NVMLError:
            continue  # an empty slot
        uuid = pynvml.nvmlDeviceGetUUID(instance)
        instances.append(uuid if isinstance(uuid, str) else uuid.decode())
    return instances


def gpu_memory(gpus: Sequence[str]) -> list[int]:
    """Bytes of each GPU in `CUDA_VISIBLE_DEVICES` entries; empty where the driver can't say."""
    import pynvml

    if not gpus:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [int(pynvml.nvmlDeviceGetMemoryInfo(handle_of(entry)).total) for entry in gpus]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


def handle_of(entry: str) -> object:
    """The driver's handle of an entry of `CUDA_VISIBLE_DEVICES`. NVML is initialised; raises its errors."""
    import pynvml

    by_index = entry.isdigit()
    handle: object = (
        pynvml.nvmlDeviceGetHandleByIndex(int(entry)) if by_index else pynvml.nvmlDeviceGetHandleByUUID(entry)
    )
    return handle


def share(gpus: Sequence[str], local_rank: int, local_world_size: int, each: int | None = None) -> list[str]:
    """The GPUs of one local process: `each`, or an equal part of them, in order; none on a CPU machine.

    Raises:
        ConfigurationError: more processes than GPUs.
    """
    if not gpus:
        return []
    each = each or len(gpus) // local_world_size
    if each * local_world_size > len(gpus) or each == 0:
        raise ConfigurationError(
            f"{local_world_size} processes on this node share {len(gpus)} GPU(s) ({', '.join(gpus)}): start at "
            f"most {len(gpus)} process(es) per node, make more GPUs visible, or pass --model-args device=cpu"
        )
    return list(gpus[local_rank * each : (local_rank + 1) * each])


def sees_its_own(ranks: Ranks, gpus: Sequence[str], env: Mapping[str, str] = os.environ) -> bool:
    """Whether nobody else sees the GPUs that this rank sees; if not, all ranks of the node see the same.

    Slurm can give each task GPUs of its own (`--gpus-per-task`, `--gpu-bind`). Then a task sees fewer than its step
    has on the node (`SLURM_GPUS_ON_NODE`), whether devices are confined by cgroups, which number them from 0 in every
    task, or not. Processes that torchrun or mpirun started within a task share what the task sees.

    Raises:
        ConfigurationError: tasks see overlapping parts of the node's GPUs.
    """
    on_node = env.get("SLURM_GPUS_ON_NODE", "")
    if ranks.launcher != "slurm" or not on_node.isdigit() or not 0 < len(gpus) < int(on_node):
        return False
    if len(gpus) * ranks.local_world_size == int(on_node):
        return True
    raise ConfigurationError(
        f"{ranks.local_world_size} Slurm tasks on this node have {on_node} GPUs, and each sees {len(gpus)} of them "
        f"({', '.join(gpus)}), so some are seen by several and it can't be told by which: give each task its own "
        "(--gpus-per-task), or let all tasks see all (--gpus-per-node with --gpu-bind=none)"
    )


def share_of(ranks: Ranks, gpus: Sequence[str], env: Mapping[str, str] = os.environ) -> list[str]:
    """The GPUs of one rank among those that it sees: its share, or all where nobody else sees them.

    Raises:
        ConfigurationError: more processes than GPUs, or tasks see overlapping parts of the node's GPUs.
    """
    if sees_its_own(ranks, gpus, env):
        return list(gpus)
    return share(gpus, ranks.local_rank, ranks.local_world_size)


def bind(gpus: Sequence[str], env: MutableMapping[str, str] = os.environ) -> None:
    """Make exactly these GPUs visible. To be called before anything initialises CUDA in this process."""
    env["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
