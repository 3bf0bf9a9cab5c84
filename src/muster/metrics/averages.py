"""Means as the references compute them: `sum(list) / len(list)`, left to right, in float64."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from muster.metrics.protocol import ScoredSample


def mean(values: Iterable[float]) -> float:
    """The plain mean, added left to right; 0.0 of nothing."""
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0


def mean_score(rows: Sequence[ScoredSample], name: str) -> float:
    """The mean over `rows` of the per-answer score `name`."""
    return mean(row.score.scores[name] for row in rows)


def ratio(part: float, whole: float) -> float:
    """`part / whole`, and 0.0 where there is nothing to divide by."""
    return part / whole if whole else 0.0
