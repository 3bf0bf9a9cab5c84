"""The cluster bootstrap (Efron & Tibshirani 1993; Davison & Hinkley 1997): uncertainty of any aggregate.

Whole clusters are drawn with replacement, as many as there are, and the aggregate is computed on each resample.
How many resamples depends on the number of rows alone, never on the clock, so that a score's interval is the same
on every machine. Large tasks draw fewer clusters per resample (m out of n; Bickel, Götze & van Zwet 1997) and
scale the deviations by sqrt(m / n), which bounds the time whatever the size; sums over the rows are recognised by
their size and scaled up first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from muster.results.intervals import ROUNDING, Estimate
from muster.results.quantiles import Z95

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Replicates = dict[str, NDArray[np.float64]]
    """Every aggregate's values on the resamples, by name."""

Row = TypeVar("Row")
Statistic = Callable[[Sequence[Row]], Mapping[str, float]]
"""Several aggregates of the same rows at once, by name."""
Copy = Callable[[Row, int], Row]
"""The n-th further copy of a row (n from 1), for statistics that must tell draws of one cluster apart."""

_ROWS_IN_ALL = 1_000_000
"""Rows aggregated over all resamples: one or two seconds of plain Python."""
_ROWS_AT_ONCE = 10_000
"""Rows in one resample of a large task."""
_AT_ONCE = 2_000_000
"""Resamples times clusters in memory at a time."""
_MOST = 1000
_PERCENTILE_FROM = 200
"""Resamples from which percentiles are used; below, the tails are too thin and the interval is normal."""


class Effort(NamedTuple):
    """How much to resample."""

    resamples: int
    share: float
    """Share of the clusters that one resample draws: 1 but for large tasks."""


def effort(rows: int) -> Effort:
    """The effort that suits a task of that many rows: up to 1,000 resamples, about a million rows in all."""
    at_once = max(1, min(rows, _ROWS_AT_ONCE))
    return Effort(min(_MOST, _ROWS_IN_ALL // at_once), at_once / max(1, rows))


def bootstrap_estimate(
    statistic: Callable[[Sequence[Row]], float],
    rows: Sequence[Row],
    clusters: Sequence[Hashable],
    seed: int = 0,
    resamples: int | None = None,
) -> Estimate:
    """`statistic` of the rows with its bootstrap standard error and 95 % interval; see `bootstrap_estimates`."""
    return bootstrap_estimates(lambda drawn: {"": statistic(drawn)}, rows, clusters, seed, resamples)[""]


def bootstrap_estimates(
    statistic: Statistic[Row],
    rows: Sequence[Row],
    clusters: Sequence[Hashable],
    seed: int = 0,
    resamples: int | None = None,
    copy: Copy[Row] | None = None,
) -> dict[str, Estimate]:
    """Every value of `statistic(rows)` with its standard error and 95 % interval, in one pass of resampling.

    The interval is the percentile interval, or normal where the task is so large that there are few resamples.
    A statistic that is the same in every resample, or in all but a few, has no interval: resampling can't tell.
    With fewer than two clusters there is neither. The same arguments give the same result, to the last bit.
    """
    values = dict(statistic(rows))
    if len(set(clusters)) < 2:
        return {name: Estimate(value) for name, value in values.items()}
    chosen = effort(len(rows)) if resamples is None else Effort(resamples, 1.0)
    replicates = row_replicates(statistic, rows, clusters, chosen, seed, copy)
    return {name: estimate_from(value, replicates[name], chosen) for name, value in values.items()}


def row_replicates(
    statistic: Statistic[Row],
    rows: Sequence[Row],
    clusters: Sequence[Hashable],
    chosen: Effort,
    seed: int = 0,
    copy: Copy[Row] | None = None,
) -> Replicates:
    """`statistic` of each resample of the rows."""
    import numpy as np

    resampler = _Resampler(_members(rows, clusters), copy)
    drawn = [
        statistic(resampler.rows(np.sort(resample).tolist()))
        for at_once in draws(len(resampler), chosen, seed)
        for resample in at_once
    ]
    return {name: np.array([values[name] for values in drawn], dtype=np.float64) for name in drawn[0]}


def draws(clusters: int, chosen: Effort, seed: int) -> Iterator[NDArray[np.int64]]:
    """The clusters of each resample, some resamples at a time (resamples, draws): the same however they are used."""
    import numpy as np

    generator = np.random.Generator(np.random.PCG64(seed))
    size = max(2, math.ceil(clusters * chosen.share))
    at_once = max(1, _AT_ONCE // clusters)
    for start in range(0, chosen.resamples, at_once):
        yield generator.integers(0, clusters, size=(min(at_once, chosen.resamples - start), size))


def _members(rows: Sequence[Row], clusters: Sequence[Hashable]) -> list[list[Row]]:
    members: dict[Hashable, list[Row]] = {}
    for cluster, row in zip(clusters, rows, strict=True):
        members.setdefault(cluster, []).append(row)
    return list(members.values())


class _Resampler(Generic[Row]):
    """Puts resamples together from drawn clusters; copies of a cluster are made once."""

    def __init__(self, members: list[list[Row]], copy: Copy[Row] | None) -> None:
        self._members = members
        self._copy = copy
        self._copies: dict[tuple[int, int], list[Row]] = {}

    def __len__(self) -> int:
        return len(self._members)

    def rows(self, drawn: Sequence[int]) -> list[Row]:
        """The rows of the clusters with these sorted numbers, one after the other."""
        rows: list[Row] = []
        last, number = -1, 0
        for cluster in drawn:
            number = number + 1 if cluster == last else 0
            last = cluster
            rows += self._members[cluster] if number == 0 else self._again(cluster, number)
        return rows

    def _again(self, cluster: int, number: int) -> list[Row]:
        if self._copy is None:
            return self._members[cluster]
        copies = self._copies.get((cluster, number))
        if copies is None:
            copies = [self._copy(row, number) for row in self._members[cluster]]
            self._copies[cluster, number] = copies
        return copies


def estimate_from(value: float, replicates: NDArray[np.float64], chosen: Effort) -> Estimate:
    """`value` with what its values on the resamples tell; those in which it is not defined (NaN) don't count."""
    import numpy as np

    replicates = replicates[~np.isnan(replicates)]
    if len(replicates) < 2 or math.isnan(value):
        return Estimate(value)
    scale = math.sqrt(chosen.share)
    average = float(np.mean(replicates))
    if abs(average - value * chosen.share) < abs(average - value):
        replicates = replicates / chosen.share  # a sum over the rows, of which a smaller resample has fewer
    if np.ptp(replicates) <= ROUNDING * max(
        1.0, abs(value)
    ):  # before the deviation, which rounding makes 1e-17
        return Estimate(value, 0.0, None)
    stderr = float(np.std(replicates, ddof=1)) * scale
    if chosen.share < 1 or chosen.resamples < _PERCENTILE_FROM:
        return Estimate(value, stderr, (value - Z95 * stderr, value + Z95 * stderr))
    low, high = np.percentile(replicates, (2.5, 97.5))
    low, high = min(value, float(low)), max(value, float(high))
    return Estimate(value, stderr, None if high - low <= ROUNDING * max(1.0, abs(value)) else (low, high))
