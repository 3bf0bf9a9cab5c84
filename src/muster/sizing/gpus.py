"""The GPUs of this machine and their memory, as the driver tells, without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping

from muster.machine.gpus import gpu_memory, visible_gpus
from muster.sizing.fit import Gpus


def this_machine(env: Mapping[str, str] = os.environ) -> Gpus | None:
    """The GPUs that this process may use, all taken for as large as the smallest; None where there are none."""
    gpus = visible_gpus(env)
    memory = gpu_memory(gpus)
    return Gpus(len(gpus), min(memory)) if memory else None
