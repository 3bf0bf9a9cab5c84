"""The GPUs of this machine and their memory, as the driver tells, without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from muster.machine.gpus import visible_gpus
from muster.sizing.fit import Gpus


def this_machine(env: Mapping[str, str] = os.environ) -> Gpus | None:
    """The GPUs that this process may use, all taken for as large as the smallest; None where there are none."""
    gpus = visible_gpus(env)
    memory = gpu_memory(gpus)
    return Gpus(len(gpus), min(memory)) if memory else None


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
        return [int(pynvml.nvmlDeviceGetMemoryInfo(_handle(entry)).total) for entry in gpus]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


def _handle(entry: str) -> object:
    import pynvml

    by_index = entry.isdigit()
    handle: object = (
        pynvml.nvmlDeviceGetHandleByIndex(int(entry)) if by_index else pynvml.nvmlDeviceGetHandleByUUID(entry)
    )
    return handle
