"""What a comparison can show with the samples at hand: the smallest difference, and the chances of a decision.

Chances for right/wrong answers are sums over every possible outcome of the multinomial of pairs (better, worse, alike),
judged by the very interval that decides (`paired_interval`), so that what is promised before is what happens. For other
scores they are the normal approximation.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

from muster.compare.paired_interval import PairedEstimate, adjusted_interval
from muster.results.quantiles import normal_quantile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_WIDTH = 8.0
"""Standard deviations of a binomial that are summed over: what is left out is under 1e-14."""


class Chances(NamedTuple):
    """Probabilities of what an interval can say about "not worse than by `margin`". They add up to 1."""

    holds: float
    """The whole interval is above -margin."""
    broken: float
    """The whole interval is below -margin."""
    open: float
    """Neither."""


def smallest_detectable(estimate: PairedEstimate, *, power: float = 0.8) -> float | None:
    """The difference that a two-sided test at 5 % finds with probability `power`, given the variation seen.

    In the unit of the scores; None with fewer than two clusters. Where nothing differs, from the interval's width.
    """
    if estimate.stderr is None or estimate.interval is None:
        return None
    normal = NormalDist()
    stderr = estimate.stderr or (estimate.interval[1] - estimate.interval[0]) / 2 / normal.inv_cdf(0.975)
    return (normal.inv_cdf(0.975) + normal.inv_cdf(power)) * stderr


def chances(
    pairs: float, better: float, worse: float, margin: float, *, quantile: float = 0.975, step: float = 1.0
) -> Chances:
    """What `pairs` right/wrong pairs would say, if the shares `better` and `worse` were true of all.

    `pairs` is rounded; with dependent samples it is the effective number. `margin` and `step` (what a right answer is
    worth) are in the same unit; `quantile` is the interval's on each side.

    Raises `ValueError` for shares that aren't any.
    """
    import numpy as np

    if better < 0 or worse < 0 or better + worse > 1 + 1e-12:
        raise ValueError(f"better {better} and worse {worse} are not shares of the pairs")
    count = max(1, round(pairs))
    differing = better + worse
    logs = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, count + 1)))))
    reach = normal_quantile(quantile)
    holds = broken = 0.0
    share = better / differing if differing else 0.0
    for total in _likely(count, differing):
        up = np.array(_likely(total, share))
        weight = math.exp(_log_binomial(logs, count, total, differing)) * np.exp(
            _log_binomials(logs, total, up, share)
        )
        low, high = adjusted_interval(up / count, (total - up) / count, float(count), reach, step)
        holds += float(weight[low > -margin].sum())
        broken += float(weight[high < -margin].sum())
    return Chances(holds, broken, max(0.0, 1.0 - holds - broken))


def normal_chances(stderr: float, difference: float, margin: float, *, quantile: float = 0.975) -> Chances:
    """The same for scores of any kind, by the normal approximation: the true `difference`, and the standard error."""
    if stderr <= 0:
        raise ValueError("a standard error of 0 has no power to compute")
    normal = NormalDist()
    reach = normal.inv_cdf(quantile)
    holds = normal.cdf((difference + margin) / stderr - reach)
    broken = normal.cdf(-(difference + margin) / stderr - reach)
    return Chances(holds, broken, 1.0 - holds - broken)


def pairs_needed(
    better: float, worse: float, margin: float, *, power: float = 0.8, quantile: float = 0.975
) -> int | None:
    """The fewest right/wrong pairs that show "not worse by `margin`" with probability `power`; None where none can."""
    if better - worse <= -margin:
        return None
    normal = NormalDist()
    variance = better + worse - (better - worse) ** 2
    reach = (normal.inv_cdf(quantile) + normal.inv_cdf(power)) / (better - worse + margin)
    high = max(16, math.ceil(2 * variance * reach**2))
    while chances(high, better, worse, margin, quantile=quantile).holds < power:
        high *= 2
        if high > 50_000_000:
            return None
    low = 1
    while low < high:
        middle = (low + high) // 2
        if chances(middle, better, worse, margin, quantile=quantile).holds >= power:
            high = middle
        else:
            low = middle + 1
    return high


def _likely(trials: int, probability: float) -> range:
    """The outcomes of a binomial that matter."""
    spread = _WIDTH * math.sqrt(trials * probability * (1.0 - probability)) + _WIDTH**2
    if probability in (0.0, 1.0):
        spread = 0.0
    centre = trials * probability
    return range(max(0, math.floor(centre - spread)), min(trials, math.ceil(centre + spread)) + 1)


def _log_binomial(logs: NDArray[np.float64], trials: int, successes: int, probability: float) -> float:
    if probability in (0.0, 1.0):
        return 0.0 if successes == trials * probability else -math.inf
    ways = logs[trials] - logs[successes] - logs[trials - successes]
    return float(ways + successes * math.log(probability) + (trials - successes) * math.log1p(-probability))


def _log_binomials(
    logs: NDArray[np.float64], trials: int, successes: NDArray[np.int64], probability: float
) -> NDArray[np.float64]:
    import numpy as np

    if probability in (0.0, 1.0):
        return np.where(successes == trials * probability, 0.0, -np.inf)
    ways = logs[trials] - logs[successes] - logs[trials - successes]
    logarithms: NDArray[np.float64] = (
        ways + successes * math.log(probability) + (trials - successes) * math.log1p(-probability)
    )
    return logarithms
