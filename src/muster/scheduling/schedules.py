"""The orders in which requests are given out: longest first, or the static partitions of today's tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from muster.core.choices import Schedule

ABOUT_AS_MUCH = 0.9
"""Of the cost of a group's longest member."""

SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
"""`dynamic`: one queue, longest first, pulled by whoever is free. `contiguous`: rank r gets the r-th range
(InternVL's InferenceSampler). `strided`: rank r gets r, r + W, r + 2W … (VLMEvalKit, lmms-eval)."""


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
    """Indices by falling cost; those that share media and cost about the same stand together.

    Questions about one image differ by a few words. Were only equal costs grouped, questions about other images would
    stand between them. A group stands where its longest member would; no member costs less than `ABOUT_AS_MUCH`
    of that, so nothing goes before what is longer by more: far less than predictions are wrong by.
    """
    order = np.argsort(-costs, kind="stable")
    first_with: dict[str, int] = {}
    group = np.arange(len(costs), dtype=np.int64)
    for place, index in enumerate(order.tolist()):
        if identity := media[index]:
            first = first_with.setdefault(identity, place)
            if costs[index] < ABOUT_AS_MUCH * costs[order[first]]:
                first = first_with[identity] = place
            group[place] = first
    return order[np.argsort(group, kind="stable")]
