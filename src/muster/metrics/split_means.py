"""Means over the parts of a benchmark, as aggregates of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from muster.metrics.averages import mean
from muster.metrics.protocol import ScoredSample
from muster.metrics.terms import Terms

if TYPE_CHECKING:
    from muster.metrics.terms import Array

Part = Callable[[ScoredSample], bool]
Mean = Callable[[list[float]], float]


def means_of_parts(
    rows: Sequence[ScoredSample], score: str, parts: Mapping[str, Part], average: Mean = mean
) -> dict[str, float]:
    """The mean of `score` over the rows of each part, by name; NaN for a part without rows."""
    values = {name: [row.score.scores[score] for row in rows if part(row)] for name, part in parts.items()}
    return {name: average(listed) if listed else float("nan") for name, listed in values.items()}


def terms_of_parts(
    rows: Sequence[ScoredSample], score: str, parts: Mapping[str, Part], scale: float = 1.0
) -> Terms:
    """The same as sums: per row and part, the score and 1 where it belongs to it."""
    import numpy as np

    scores = np.array([row.score.scores[score] for row in rows])
    members = [np.array([part(row) for row in rows], dtype=np.float64) for part in parts.values()]
    values = np.stack([column for member in members for column in (scores * member, member)], axis=1)

    def formula(sums: Array) -> dict[str, Array]:
        total = sums.sum(axis=1)
        with np.errstate(invalid="ignore"):
            return {
                name: total[:, 2 * number] / total[:, 2 * number + 1] * scale
                for number, name in enumerate(parts)
            }

    return Terms(np.arange(len(rows)), values, np.zeros(len(rows), dtype=np.int64), formula)
