"""The model: its weights are drawn on the device and written once; all parts load it from there, as users do."""

from __future__ import annotations

import time

from benchmarks.gpu.setting import FAMILY, Setting
from benchmarks.random_models import SIZES, build
from benchmarks.tables import say
from muster.models.transformers.quiet import quiet


def measure(setting: Setting) -> bool:
    """Write it."""
    began = time.perf_counter()
    with quiet():
        build(setting.model, FAMILY, SIZES[FAMILY, setting.size], setting.dtype, setting.device)
    size = sum(each.stat().st_size for each in setting.model.glob("*.safetensors"))
    say(
        f"Qwen2.5-VL's architecture, {setting.size}: {size / 2**30:.2f} GiB of random {setting.dtype} weights, "
        f"drawn and written in {time.perf_counter() - began:.1f} s."
    )
    return True
