"""How much better one run is than another on the same samples: the mean difference with its 95 % interval.

Formulas, for differences d_i in G clusters (a sample that shares no image with others is a cluster of one):

- standard error: the bias-reduced cluster estimator for a mean (CR2; Bell & McCaffrey 2002): with the residual sums r_g
  of the clusters and their shares h_g = n_g / n, `SE² = sum(r_g² / (1 - h_g)) / n²`; alone, `s / sqrt(n)`;
- interval: ± t · SE with Bell and McCaffrey's degrees of freedom (Satterthwaite's, G - 1 for clusters of one);
- where every difference is 0 or ± the same step (right/wrong), Bonett and Price's (2012) adjusted interval for paired
  proportions: one imaginary pair more each way, on the effective sample size, so that it has a width where no pair, or
  every pair, differs. It covers its 95 % from ten pairs on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from muster.results.quantiles import normal_quantile, t_quantile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PairedEstimate:
    """A mean difference, in the unit of the scores."""

    difference: float
    """Second minus first; NaN of no pairs."""
    stderr: float | None
    """None with fewer than two clusters."""
    interval: tuple[float, float] | None
    pairs: int
    clusters: int
    effective: float
    """Pairs that would be as informative were they independent."""


def paired_estimate(
    differences: NDArray[np.float64], clusters: NDArray[np.int64] | None = None, *, quantile: float = 0.975
) -> PairedEstimate:
    """The mean of `differences` (shape (n,)) with its interval at `quantile` on each side.

    `clusters` (shape (n,)) numbers the cluster of each from 0; None: all are independent.
    """
    import numpy as np

    count = differences.size
    if count == 0:
        return PairedEstimate(math.nan, None, None, 0, 0, 0.0)
    mean = float(differences.mean())
    sizes = np.ones(count) if clusters is None else np.bincount(clusters).astype(np.float64)
    sizes = sizes[sizes > 0]
    groups = sizes.size
    if groups < 2:
        return PairedEstimate(mean, None, None, count, groups, float(groups))
    sums = cluster_sums(differences - mean, clusters)
    shares = sizes / count
    variance = float((sums**2 / (1.0 - shares)).sum()) / count**2
    effective = _effective(differences, mean, variance, groups)
    step = _step(differences)
    if step is not None:
        independent = groups == count
        reach = normal_quantile(quantile) if independent else t_quantile(quantile, _degrees(sizes, count))
        better, worse = float((differences > 0).mean()), float((differences < 0).mean())
        low, high = adjusted_interval(better, worse, effective, reach, step)
        interval = (float(low), float(high))
    else:
        margin = t_quantile(quantile, _degrees(sizes, count)) * math.sqrt(variance)
        interval = (mean - margin, mean + margin)
    return PairedEstimate(mean, math.sqrt(variance), interval, count, groups, effective)


def cluster_sums(values: NDArray[np.float64], clusters: NDArray[np.int64] | None) -> NDArray[np.float64]:
    """The sum of `values` in each cluster that has any; the values themselves where all are independent."""
    import numpy as np

    if clusters is None:
        return values
    present = np.bincount(clusters) > 0
    return np.bincount(clusters, weights=values)[present].astype(np.float64)


def adjusted_interval(
    better: NDArray[np.float64] | float,
    worse: NDArray[np.float64] | float,
    pairs: float,
    reach: float,
    step: float = 1.0,
) -> tuple[NDArray[np.float64] | float, NDArray[np.float64] | float]:
    """Bonett and Price's interval for the shares of `pairs` that got `better` and `worse`, `reach` errors each way."""
    import numpy as np

    size = pairs + 2.0
    up, down = (better * pairs + 1.0) / size, (worse * pairs + 1.0) / size
    margin = reach * np.sqrt((up + down - (up - down) ** 2) / size)
    return step * np.maximum(-1.0, up - down - margin), step * np.minimum(1.0, up - down + margin)


def _degrees(sizes: NDArray[np.float64], count: int) -> float:
    """Bell and McCaffrey's degrees of freedom for a mean, under independence: n² / tr(M²) in closed form."""
    weights = 1.0 / (1.0 - sizes / count)
    squares = sizes**2
    trace = (
        float(squares.sum())
        + (float((weights * squares).sum()) ** 2 - float((weights**2 * squares**2).sum())) / count**2
    )
    return count**2 / trace


def _effective(differences: NDArray[np.float64], mean: float, variance: float, groups: int) -> float:
    """Pairs over the design effect; where nothing varies, which tells nothing about it, the number of clusters."""
    count = differences.size
    if variance == 0.0:
        return float(groups)
    simple = float(((differences - mean) ** 2).sum()) / (count - 1) / count
    return count * min(simple / variance, count / groups) if simple > 0 else float(groups)


def _step(differences: NDArray[np.float64]) -> float | None:
    """The size of every difference that isn't zero, where they have but one (1 where all are zero); else None."""
    import numpy as np

    sizes = np.abs(differences)
    largest = float(sizes.max())
    if largest == 0.0:
        return 1.0
    return largest if bool(np.all((sizes == 0.0) | (sizes == largest))) else None
