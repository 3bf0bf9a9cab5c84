"""How tools of today divide the work, played under a simulated clock. Pure.

All are given more than they have: a replica that is lost comes back and goes on with its share, having lost only the
request in its hands. In the tools themselves a lost rank ends the others, hangs them, or its share is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from muster.scheduling.simulator import Replica

Seconds = NDArray[np.float64]


def end_of_share(costs: Seconds, replica: Replica, begin: float) -> float:
    """When a replica of one slot has worked off its share, one after the other, from `begin` on."""
    if not len(costs):
        return begin
    ends = np.cumsum(costs / replica.speed)
    total = float(ends[-1])
    now, before = begin, 0.0  # what had ended when it last began
    for start, end in replica.away:
        if end <= now:
            continue
        if now + total - before <= start:
            break
        kept = int(np.searchsorted(ends, before + max(0.0, start - now), side="right"))
        before = float(ends[kept - 1]) if kept else 0.0
        now = end
    return now + total - before


def contiguous(seconds: Seconds, replicas: Sequence[Replica]) -> float:
    """Every replica gets a contiguous part of all requests: NeMo Evaluator's shards."""
    bounds = np.linspace(0, len(seconds), len(replicas) + 1).astype(int)
    shares = (seconds[start:end] for start, end in pairwise(bounds))
    return max(end_of_share(share, each, 0.0) for share, each in zip(shares, replicas, strict=True))


def strided(seconds: Seconds, replicas: Sequence[Replica]) -> float:
    """Every replica gets each W-th request of every benchmark, all benchmarks in one go: lmms-eval's."""
    return _strided_from(seconds, replicas, 0.0)


def barriers(seconds: Seconds, benchmark: NDArray[np.int64], replicas: Sequence[Replica]) -> float:
    """Strides of one benchmark, then a barrier, then the next: VLMEvalKit's."""
    now = 0.0
    for number in np.unique(benchmark):
        now = _strided_from(seconds[benchmark == number], replicas, now)
    return now


def _strided_from(seconds: Seconds, replicas: Sequence[Replica], begin: float) -> float:
    width = len(replicas)
    busy = replicas[: len(seconds)]
    return max(end_of_share(seconds[rank::width], each, begin) for rank, each in enumerate(busy))
