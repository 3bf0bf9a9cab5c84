"""Static and continuous batches against a loop at batch size 1 and packed `generate`; see `transformers_speed`."""

from __future__ import annotations

from benchmarks import transformers_speed
from benchmarks.gpu.setting import FAMILY, Setting
from benchmarks.random_models import SIZES
from benchmarks.transformers_speed import LONGEST, Case, show


def measure(setting: Setting) -> bool:
    """Print the table; false if an aim was missed."""
    case = Case(
        FAMILY,
        SIZES[FAMILY, setting.size],
        requests=192 if setting.large else 6,
        batch_size=64 if setting.large else 3,
        by_hand=5 if setting.large else 1,
        repeats=1,
        warm_up=8 if setting.large else 0,
        dtype=setting.dtype,
        device=setting.device,
        longest=LONGEST if setting.large else 12,
    )
    return show(case, transformers_speed.measure(case, setting.place("speed"), setting.model))
