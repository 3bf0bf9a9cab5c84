"""Tests of whether two runs differ on the same samples, exact wherever that is possible.

Sources:

- McNemar (1947), exact: with b and c discordant pairs, the two-sided binomial test of min(b, c) in b + c at 1/2;
- sign-flip permutation (Fisher 1935; Ernst 2004): under the hypothesis that the runs are exchangeable, every
  independent difference is as likely with the other sign. The statistic is the sum; clusters are flipped as a whole.
  Where all differences have one size, as for right/wrong answers, it is McNemar's test, and is called so;
- Holm (1979): adjusted p-values that bound the probability of any false alarm over all tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Method = Literal["exact McNemar", "exact sign-flip", "sign-flip, sampled", "nothing differs"]

FLIPS = 20_000
"""Random sign assignments where the exact distribution is out of reach; p-values are never under 1 / (FLIPS + 1)."""
_SEED = 0
_ENUMERATED = 18
"""Differences whose 2^n sign assignments are all looked at."""
_LATTICE_SPAN = 1 << 21
"""The longest exact distribution of a sum of lattice values that is computed."""
_DENOMINATORS = (1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 15, 20, 30, 100, 600, 1000)
_AT_ONCE = 4_000_000
"""Signs in memory at a time."""


class TestResult(NamedTuple):
    """A two-sided p-value and how it was found."""

    p_value: float
    method: Method


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """The two-sided exact p-value of McNemar's test for `only_first` and `only_second` discordant pairs.

    1.0 without any. Equal to the binomial test of either count at 1/2.
    """
    count, fewer = only_first + only_second, min(only_first, only_second)
    if 2 * fewer >= count:
        return 1.0
    return min(1.0, 2.0 * binomial_cdf_half(fewer, count))


def binomial_cdf_half(successes: int, trials: int) -> float:
    """P(X <= successes) for X binomial with `trials` trials of probability 1/2, exact but for rounding."""
    if successes < 0:
        return 0.0
    if successes >= trials:
        return 1.0
    if trials <= 1000:
        return float(sum(math.comb(trials, k) for k in range(successes + 1)) / (1 << trials))
    # The last term, times a sum of ratios that falls off geometrically.
    term = total = 1.0
    for k in range(successes, 0, -1):
        term *= k / (trials - k + 1)
        total += term
        if term < total * 1e-18:
            break
    log_last = math.lgamma(trials + 1) - math.lgamma(successes + 1) - math.lgamma(trials - successes + 1)
    return min(1.0, math.exp(log_last - trials * math.log(2)) * total)


def sign_flip_test(differences: NDArray[np.float64]) -> TestResult:
    """The two-sided sign-flip test of independent `differences` (one per sample, or sums per cluster): shape (n,).

    Exact for up to 18 differences that aren't zero, and for any number whose values are multiples of a common unit
    (right/wrong, VQA's tenths) while their sum's distribution fits; else `FLIPS` random sign assignments with a fixed
    seed, of which the observed one counts as one more, so the test keeps its level.
    """
    import numpy as np

    values = differences[differences != 0]
    if values.size == 0:
        return TestResult(1.0, "nothing differs")
    units = _in_units(values)
    if units is not None and np.all(np.abs(units) == np.abs(units[0])):
        positive = int((units > 0).sum())
        return TestResult(mcnemar_exact(positive, units.size - positive), "exact McNemar")
    if values.size <= _ENUMERATED:
        return TestResult(_enumerated(values), "exact sign-flip")
    if units is not None and int(np.abs(units).sum()) <= _LATTICE_SPAN:
        return TestResult(_on_lattice(units), "exact sign-flip")
    return TestResult(_sampled(values), "sign-flip, sampled")


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: reject those at most α, and any false alarm has probability ≤ α."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _in_units(values: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """`values` as whole multiples of their largest common unit; None where there is none that is simple."""
    import numpy as np

    for denominator in _DENOMINATORS:
        scaled = values * denominator
        whole = np.rint(scaled)
        if np.all(np.abs(scaled - whole) < 1e-7) and np.all(np.abs(whole) < 1 << 40):
            units = whole.astype(np.int64)
            common = int(np.gcd.reduce(np.abs(units)))
            return units // max(1, common)
    return None


def _enumerated(values: NDArray[np.float64]) -> float:
    import numpy as np

    sums = np.zeros(1)
    for value in np.abs(values):
        sums = np.concatenate((sums + value, sums - value))
    return float((np.abs(sums) >= _reach(values)).mean())


def _on_lattice(units: NDArray[np.int64]) -> float:
    """By the distribution of the sum: the convolution of one stretched binomial per distinct size."""
    import numpy as np

    sizes, counts = np.unique(np.abs(units), return_counts=True)
    distribution = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        stretched = np.zeros(2 * size * count + 1)
        stretched[:: 2 * size] = _binomial_half(count)
        distribution = _convolved(distribution, stretched)
    span = int(np.abs(units).sum())
    observed = abs(int(units.sum()))
    if observed == 0:
        return 1.0
    return float(min(1.0, 2.0 * distribution[span + observed :].sum()))


def _binomial_half(trials: int) -> NDArray[np.float64]:
    """P(X = 0 … trials) for probability 1/2."""
    import numpy as np

    logs = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, trials + 1)))))
    probabilities: NDArray[np.float64] = np.exp(logs[-1] - logs - logs[::-1] - trials * math.log(2))
    return probabilities


def _convolved(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    size = first.size + second.size - 1
    if min(first.size, int(np.count_nonzero(second))) <= 64:
        result = np.zeros(size)
        for index in np.flatnonzero(second):
            result[index : index + first.size] += second[index] * first
        return result
    padded = 1 << (size - 1).bit_length()
    product = np.fft.irfft(np.fft.rfft(first, padded) * np.fft.rfft(second, padded), padded)
    return np.maximum(product[:size], 0.0)


def _sampled(values: NDArray[np.float64]) -> float:
    import numpy as np

    generator = np.random.Generator(np.random.PCG64(_SEED))
    sizes, reach = np.abs(values), _reach(values)
    distinct, counts = np.unique(sizes, return_counts=True)
    if distinct.size * 4 <= sizes.size:  # equal sizes flip as a binomial
        plus = generator.binomial(counts, 0.5, size=(FLIPS, distinct.size))
        return float((1 + (np.abs((2 * plus - counts) @ distinct) >= reach).sum()) / (FLIPS + 1))
    extreme, done, at_once = 0, 0, max(8, _AT_ONCE // sizes.size // 8 * 8)
    total = float(sizes.sum())
    while done < FLIPS:
        rows = min(at_once, FLIPS - done)
        packed = generator.integers(0, 256, size=(rows, -(-sizes.size // 8)), dtype=np.uint8)
        signs = np.unpackbits(packed, axis=1, count=sizes.size)
        extreme += int((np.abs(2.0 * (signs @ sizes) - total) >= reach).sum())
        done += rows
    return (1 + extreme) / (FLIPS + 1)


def _reach(values: NDArray[np.float64]) -> float:
    """What a sum must reach to count as extreme as the one seen, rounding forgiven."""
    import numpy as np

    return abs(float(values.sum())) - 1e-9 * float(np.abs(values).sum())
