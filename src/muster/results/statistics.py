"""Scores with their uncertainty: analytic for means, bootstrap for everything else, clustered throughout.

Where neither finds anything that varies, `flat` has the interval: none has width zero.
Never changes a value: it is what the metric's own aggregation returned, to the last bit.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence

from muster.metrics.averages import score_values
from muster.metrics.declared import undeclared
from muster.metrics.protocol import AdditiveMetric, Metric, ScoredSample
from muster.results.additive_bootstrap import additive_estimates
from muster.results.bootstrap import bootstrap_estimate, bootstrap_estimates
from muster.results.clusters import cluster_ids
from muster.results.flat import flat_intervals
from muster.results.intervals import Estimate, mean_estimate

__all__ = ["Estimate", "bootstrap_estimate", "cluster_ids", "estimate_metrics", "mean_estimate"]

_SEED = 0
_LARGEST = {"0-1": 1.0, "0-10": 10.0}
"""The largest value of a score, by its unit; others have none that is known."""
_COPIES = 1_000_000
"""More than any task's repeats: keeps the copies of a resample apart from the real ones."""


def estimate_metrics(
    metric: Metric, rows: Sequence[ScoredSample], clusters: Sequence[Hashable]
) -> dict[str, Estimate]:
    """Every aggregate of `metric` over `rows` with standard error and 95 % interval, in the order of its units.

    `clusters` are those of `cluster_ids`. Nothing for no rows. Intervals of aggregates in 0-1 stay there. Raises what
    the metric raises, and `ValueError` where it gives other scores than it declares.
    """
    if not rows:
        return {}
    values = metric.aggregate(rows)
    if problem := undeclared(metric, values):
        raise ValueError(problem)
    others = {name: value for name, value in values.items() if name not in metric.info.means}
    resampled = _bootstrapped(metric, others, rows, clusters) if others else {}
    estimates: dict[str, Estimate] = {}
    of_means: dict[str, Estimate] = {}
    for name, value in values.items():
        if name in metric.info.means:
            score = metric.info.means[name]
            if score not in of_means:
                of_means[score] = mean_estimate(score_values(rows, score), clusters)
            scale = 100.0 if metric.info.units.get(name) == "percent" else 1.0
            estimate = dataclasses.replace(_scaled(of_means[score], scale), value=value)
            estimates[name] = _clipped(estimate, _LARGEST.get(metric.info.units.get(name, ""), math.inf))
        else:
            bounded = metric.info.units.get(name) == "0-1"
            estimates[name] = _clipped(resampled[name], 1.0 if bounded else math.inf)
    flat = {name: values[name] for name, estimate in estimates.items() if _is_flat(estimate)}
    intervals = flat_intervals(metric, flat, rows, clusters) if flat else {}
    return {
        name: dataclasses.replace(estimate, ci95=intervals[name]) if name in intervals else estimate
        for name, estimate in estimates.items()
    }


def _is_flat(estimate: Estimate) -> bool:
    """Whether nothing varies although there are clusters to vary."""
    return estimate.stderr is not None and estimate.ci95 is None


def _bootstrapped(
    metric: Metric, values: Mapping[str, float], rows: Sequence[ScoredSample], clusters: Sequence[Hashable]
) -> Mapping[str, Estimate]:
    rows = list(rows)  # which are gone over many times
    if isinstance(metric, AdditiveMetric):
        estimates = additive_estimates(values, metric.additive_terms(rows), clusters, seed=_SEED)
        if estimates is not None:
            return estimates
    return bootstrap_estimates(metric.aggregate, rows, clusters, seed=_SEED, copy=_another_repeat)


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    stderr, interval = estimate.stderr, estimate.ci95
    return Estimate(
        estimate.value * factor,
        None if stderr is None else stderr * factor,
        None if interval is None else (interval[0] * factor, interval[1] * factor),
    )


def _another_repeat(row: ScoredSample, number: int) -> ScoredSample:
    """A further draw of a row, as a repeat of its own: metrics that group rows keep the draws apart."""
    return ScoredSample(row.sample, row.prediction, row.score, row.repeat + number * _COPIES)


def _clipped(estimate: Estimate, largest: float) -> Estimate:
    """An interval between 0 and `largest`; as it is where that is infinite."""
    if estimate.ci95 is None or math.isinf(largest):
        return estimate
    low, high = estimate.ci95
    return dataclasses.replace(estimate, ci95=(max(0.0, low), min(largest, high)))
