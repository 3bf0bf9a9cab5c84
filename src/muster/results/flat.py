"""Intervals of scores that are the same in every resample: everything right, everything wrong, nothing that varies.

Resampling answers that are all alike says that nothing could have been otherwise, which no finite number of answers
shows. What they do show is a bound on the share of other questions (of clusters, to be exact) that would have come out
otherwise: Wilson's score interval (1927), whose bound at 0 of G is z² / (G + z²); Brown, Cai & DasGupta (2001)
recommend it for small samples and at the boundary. So the score is placed within its range, from the worst to the best
that it could be on these samples, and has Wilson's interval there.

Where the score weighs clusters differently (points summed over categories of different sizes), G is Kish's effective
number (1965) of clusters, (Σ d)² / Σ d², with d by how much the score would move if all answers of one cluster came
out the other way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from muster.metrics.protocol import Metric, Score, ScoredSample
from muster.results.intervals import wilson

RANGES = {"0-1": (0.0, 1.0), "percent": (0.0, 100.0), "0-10": (0.0, 10.0)}
"""What a score may be, by its unit; that of others depends on the samples."""
_ROWS_IN_ALL = 300_000
"""Rows aggregated to see by how much clusters move the scores: a fraction of a second."""

Interval = tuple[float, float]


class _Extremes(NamedTuple):
    """Every aggregate, were all answers worth nothing, and were all worth everything."""

    worst: Mapping[str, float]
    best: Mapping[str, float]


def flat_intervals(
    metric: Metric,
    values: Mapping[str, float],
    rows: Sequence[ScoredSample],
    clusters: Sequence[Hashable],
) -> dict[str, Interval | None]:
    """The 95 % interval of each of `values`, which no resample changes; at least two `clusters`.

    None where the score's range isn't known: its unit doesn't say, and neither do answers that are worth 0 or 1.
    """
    rows = list(rows)  # which are gone over many times
    extremes = _extremes(metric, rows)
    ranges = {
        name: _range(metric.info.units.get(name, ""), name, value, extremes) for name, value in values.items()
    }
    sizes = _effective_clusters(metric, {name for name, found in ranges.items() if found}, rows, clusters)
    return {
        name: None if (found := ranges[name]) is None else _placed(value, found, sizes[name])
        for name, value in values.items()
    }


def _placed(value: float, within: Interval, clusters: float) -> Interval:
    low, high = within
    width = high - low
    below, above = wilson((value - low) / width, clusters)
    return min(value, low + width * below), max(value, low + width * above)


def _range(unit: str, name: str, value: float, extremes: _Extremes | None) -> Interval | None:
    found = RANGES.get(unit)
    if found is None and extremes is not None:
        ends = (extremes.worst.get(name, math.nan), extremes.best.get(name, math.nan))
        found = min(ends), max(ends)
    if found is None or not found[0] <= value <= found[1] or found[0] == found[1]:
        return None
    return found


def best_possible(metric: Metric, rows: Sequence[ScoredSample]) -> Mapping[str, float]:
    """What each aggregate would be, were all answers worth everything; empty where the metric can't say."""
    return _aggregated(metric, [_worth(row, _everything) for row in rows]) or {}


def _extremes(metric: Metric, rows: Sequence[ScoredSample]) -> _Extremes | None:
    worst = _aggregated(metric, [_worth(row, _nothing) for row in rows])
    best = best_possible(metric, rows)
    return None if worst is None or not best else _Extremes(worst, best)


def _effective_clusters(
    metric: Metric, names: Collection[str], rows: Sequence[ScoredSample], clusters: Sequence[Hashable]
) -> dict[str, float]:
    """For each score how many clusters of equal weight would tell as much.

    A score that counts only some answers (recall: where yes is right) depends on one of the answers' numbers, so each
    is turned over by itself too, and what makes the fewest clusters count decides.
    """
    members: dict[Hashable, list[int]] = {}
    for number, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(number)
    sizes = dict.fromkeys(names, float(len(members)))
    before = _aggregated(metric, rows) if names else None
    if before is None:
        return sizes
    single = list(rows[0].score.scores) if rows else []
    turned: list[Collection[str]] = [single, *([name] for name in single if len(single) > 1)]
    step = max(1, math.ceil(len(members) * len(rows) * len(turned) / _ROWS_IN_ALL))
    tried = list(members.values())[::step]
    for chosen in turned:
        moved = [_moved(metric, rows, cluster, chosen, before) for cluster in tried]
        for name in names:
            each = [abs(by[name]) for by in moved if math.isfinite(by.get(name, math.nan))]
            if any(each):
                effective = sum(each) ** 2 / sum(value * value for value in each)
                sizes[name] = min(sizes[name], effective * len(members) / len(tried))
    return sizes


def _moved(
    metric: Metric,
    rows: Sequence[ScoredSample],
    cluster: Sequence[int],
    chosen: Collection[str],
    before: Mapping[str, float],
) -> dict[str, float]:
    """By how much each aggregate moves if the `chosen` scores of one cluster's answers come out the other way."""
    other = list(rows)
    for number in cluster:
        other[number] = _worth(rows[number], _opposite, chosen)
    after = _aggregated(metric, other)
    return (
        {}
        if after is None
        else {name: after[name] - value for name, value in before.items() if name in after}
    )


def _aggregated(metric: Metric, rows: Sequence[ScoredSample]) -> Mapping[str, float] | None:
    try:
        return metric.aggregate(rows)
    except Exception:  # noqa: BLE001 - a metric may be anybody's code, and these answers are made up
        return None


def _worth(
    row: ScoredSample, instead: Callable[[float], float], chosen: Collection[str] | None = None
) -> ScoredSample:
    """The row with other scores, all or the `chosen` ones, as far as they are shares."""
    scores = {
        name: instead(value) if 0 <= value <= 1 and (chosen is None or name in chosen) else value
        for name, value in row.score.scores.items()
    }
    return replace(row, score=Score(scores, row.score.extracted))


def _nothing(_value: float) -> float:
    return 0.0


def _everything(_value: float) -> float:
    return 1.0


def _opposite(value: float) -> float:
    return 0.0 if value > 0.5 else 1.0
