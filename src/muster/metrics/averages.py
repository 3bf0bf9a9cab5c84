"""Means as the references compute them, in float64: most of them `sum(list) / len(list)`, left to right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from muster.metrics.protocol import ScoredSample


def mean(values: Iterable[float]) -> float:
    """The plain mean, added left to right; 0.0 of nothing."""
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0


@runtime_checkable
class HasScoreValues(Protocol):
    """Rows whose scores can be had without making the rows."""

    def score_values(self, name: str) -> list[float]:
        """The score `name` of each row."""
        ...


def score_values(rows: Sequence[ScoredSample], name: str) -> list[float]:
    """The per-answer score `name` of each of `rows`. Raises `KeyError` where one has none."""
    try:
        if isinstance(rows, HasScoreValues):
            return rows.score_values(name)
        return [row.score.scores[name] for row in rows]
    except KeyError:
        raise KeyError(f"an answer has no score {name!r}; every answer of a metric has the same") from None


def mean_score(rows: Sequence[ScoredSample], name: str) -> float:
    """The mean over `rows` of the per-answer score `name`."""
    return mean(score_values(rows, name))


def numpy_mean(values: Iterable[float]) -> float:
    """The mean as numpy adds it, in pairs, which may differ in the last bit; 0.0 of nothing."""
    import numpy as np

    listed = list(values)
    return float(np.mean(listed)) if listed else 0.0


def ratio(part: float, whole: float) -> float:
    """`part / whole`, and 0.0 where there is nothing to divide by."""
    return part / whole if whole else 0.0
