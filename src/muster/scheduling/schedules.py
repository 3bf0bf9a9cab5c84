"""The orders in which requests are given out: longest first, or the static partitions of today's tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Schedule = Literal["dynamic", "contiguous", "strided"]
"""`dynamic`: one queue, longest first, pulled by whoever is free. `contiguous`: rank r gets the r-th range
(InternVL's InferenceSampler). `strided`: rank r gets r, r + W, r + 2W … (VLMEvalKit, lmms-eval)."""

SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)


def contiguous_share(total: int, world_size: int, rank: int) -> range:
    """The rank's range as InternVL's InferenceSampler cuts it: the first ranks get one more each."""
    size, left = divmod(total, world_size)
    begin = rank * size + min(rank, left)
    return range(begin, begin + size + (rank < left))


def strided_share(total: int, world_size: int, rank: int) -> range:
    """Every `world_size`-th index, from `rank` on."""
    return range(rank, total, world_size)


def static_share(schedule: Schedule, total: int, world_size: int, rank: int) -> range:
    """The indices that a static schedule gives to a rank, in the original order."""
    share = contiguous_share if schedule == "contiguous" else strided_share
    return share(total, world_size, rank)


def longest_first(costs: NDArray[np.float64], media: Sequence[str]) -> NDArray[np.int64]:
    """Indices by falling cost; among equal costs, those that share media stand together, in original order.

    Grouping only among equal costs keeps the order strictly longest first, so it costs no balance. Questions
    about one image usually have the same predicted cost (same media, same limit), so most groups do form.
    """
    first_with: dict[str, int] = {}
    group = np.arange(len(costs), dtype=np.int64)
    for index, identity in enumerate(media):
        if identity:
            group[index] = first_with.setdefault(identity, index)
    return np.lexsort((group, -costs))
