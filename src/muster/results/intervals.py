"""Standard errors and 95 % intervals of means: the central limit theorem, clusters, and Wilson's score interval.

Formulas:

- standard error of a mean: `s / sqrt(n)`, s² with n - 1;
- clustered (Liang & Zeger 1986; Miller 2024, "Adding error bars to evals"): with residual sums `r_g` of the G
  clusters, `SE² = G / (G - 1) * sum(r_g²) / n²`, which is the former where every cluster has one value;
- Wilson (1927) for values between 0 and 1: the p with `(p̂ - p)² = z² p (1 - p) / n`. For clustered or fractional
  values n is the effective sample size `p̂ (1 - p̂) / SE²` (Kish 1965; Korn & Graubard 1998) and z is Student's t
  with G - 1 degrees of freedom, since SE is itself estimated from G clusters.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from muster.results.quantiles import Z95, t_quantile

ROUNDING = 1e-12
"""Relative; what is smaller than this is a difference of sums that should be equal."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score with its uncertainty, all in the score's own unit.

    `stderr` and `ci95` are None where there is nothing to estimate them from (fewer than two clusters). `ci95` alone is
    None where nothing varies and the values don't tell their range (`muster.results.flat`).
    """

    value: float
    stderr: float | None = None
    ci95: tuple[float, float] | None = None


def mean_estimate(values: Sequence[float], clusters: Sequence[Hashable] | None = None) -> Estimate:
    """The mean (`sum / len`, left to right) with its standard error and 95 % interval.

    Values of one cluster may be correlated; without `clusters` all are independent. Values that lie between 0
    and 1 get Wilson's interval, which stays there and doesn't shrink to nothing at 0 and 1; others the mean
    ± t · SE, and none where SE is 0. NaN of no values.
    """
    count = len(values)
    if count == 0:
        return Estimate(math.nan)
    mean = sum(values) / count
    groups = count if clusters is None else len(set(clusters))
    if groups < 2:
        return Estimate(mean)
    stderr = _stderr(values, clusters, mean, groups)
    different = set(values)
    if all(0 <= value <= 1 for value in different):
        independent = groups == count and different <= {0, 1}
        quantile = Z95 if independent else t_quantile(0.975, groups - 1)
        return Estimate(mean, stderr, wilson(mean, _effective_size(mean, stderr, groups), quantile))
    if stderr == 0:
        return Estimate(mean, stderr)
    margin = t_quantile(0.975, groups - 1) * stderr
    return Estimate(mean, stderr, (mean - margin, mean + margin))


def wilson(share: float, size: float, quantile: float = Z95) -> tuple[float, float]:
    """Wilson's score interval for a share of `size` observations (may be fractional, must be positive)."""
    squared = quantile * quantile
    centre = (share + squared / (2 * size)) / (1 + squared / size)
    spread = math.sqrt(max(0.0, share * (1 - share)) / size + squared / (4 * size * size))
    margin = quantile / (1 + squared / size) * spread
    # At 0 and 1 the bound is the share itself; rounding must not put it a hair on the wrong side.
    return min(share, max(0.0, centre - margin)), max(share, min(1.0, centre + margin))


def _stderr(values: Sequence[float], clusters: Sequence[Hashable] | None, mean: float, groups: int) -> float:
    if clusters is None or groups == len(values):
        squares = sum([(value - mean) ** 2 for value in values])
    else:
        residuals: dict[Hashable, float] = {}
        for cluster, value in zip(clusters, values, strict=True):
            residuals[cluster] = residuals.get(cluster, 0.0) + (value - mean)
        squares = sum(residual**2 for residual in residuals.values())
    stderr = math.sqrt(groups / (groups - 1) * squares) / len(values)
    return 0.0 if stderr <= ROUNDING * max(1.0, abs(mean)) else stderr


def _effective_size(mean: float, stderr: float, groups: int) -> float:
    """How many independent answers would give this standard error; the clusters where it is 0.

    The factor undoes the small-sample correction in `stderr`, so that n independent answers count as n.
    """
    if stderr == 0 or mean * (1 - mean) <= 0:
        return float(groups)
    return mean * (1 - mean) / (stderr * stderr) * groups / (groups - 1)
