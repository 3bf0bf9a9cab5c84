"""Which lane a worker is served from: one for all (dynamic), or its own share (static)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from muster.core.choices import Schedule
from muster.scheduling.lane import Lane
from muster.scheduling.schedules import static_share


class Supply(Protocol):
    """Waiting requests by place. The queue owns their states; a supply only knows the lines."""

    def lane(self, share: int | None, *, batched: bool, common: bool) -> Lane | None:
        """Where a worker with that share (or none) takes from next, or None where nothing waits for it.

        `common`: whether it may take from what belongs to nobody (always so where all is common).
        """
        ...

    def put_back(self, places: Iterable[int], share: int | None) -> None:
        """Let requests wait again: in that share, or in common."""
        ...

    def abandon(self, share: int) -> None:
        """Make what waits in a share common."""
        ...


class CommonSupply:
    """One order for everybody, and one lane per batch key for workers with static batches."""

    def __init__(self, keys: NDArray[np.int64], states: bytearray) -> None:
        """`keys`: the batch key of each place."""
        self._all = Lane(range(len(keys)), states)
        self._keys: list[int] = []
        self._lines: list[Lane] = []
        names, inverse = np.unique(keys, return_inverse=True)
        if len(names) > 1:
            self._keys = inverse.tolist()
            by_key = np.argsort(inverse, kind="stable")
            starts = np.flatnonzero(np.diff(inverse[by_key])) + 1
            self._lines = [Lane(places.tolist(), states) for places in np.split(by_key, starts)]

    def lane(self, share: int | None, *, batched: bool, common: bool) -> Lane | None:  # noqa: ARG002
        """The common lane, or for batches the lane of the longest request's key."""
        front = self._all.front()
        if front < 0:
            return None
        return self._lines[self._keys[front]] if batched and self._lines else self._all

    def put_back(self, places: Iterable[int], share: int | None) -> None:  # noqa: ARG002
        """Back to their place in the order, whoever had them."""
        for place in places:
            self._all.put_back(place)
            if self._lines:
                self._lines[self._keys[place]].put_back(place)

    def abandon(self, share: int) -> None:
        """Nothing belongs to anybody here."""


class SharedOutSupply:
    """A share per rank, decided beforehand, and a common pool of what lost its owner."""

    def __init__(self, schedule: Schedule, total: int, replicas: int, states: bytearray) -> None:
        self._shares: Sequence[Lane] = [
            Lane(static_share(schedule, total, replicas, rank), states) for rank in range(replicas)
        ]
        self._common = Lane((), states)

    def lane(self, share: int | None, *, batched: bool, common: bool) -> Lane | None:  # noqa: ARG002
        """The worker's own share while it lasts, then the pool."""
        if share is not None and (own := self._shares[share]).front() >= 0:
            return own
        return self._common if common and self._common.front() >= 0 else None

    def put_back(self, places: Iterable[int], share: int | None) -> None:
        """Into the share, or the pool."""
        lane = self._common if share is None else self._shares[share]
        for place in places:
            lane.put_back(place)

    def abandon(self, share: int) -> None:
        """Pour a share into the pool."""
        self._common.extend(self._shares[share].drain())
