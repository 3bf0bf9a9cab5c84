"""Quantiles of the normal and of Student's t distribution, which intervals are made of. Equal to scipy's to 1e-9."""

from __future__ import annotations

import functools
import math

Z95 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


def normal_quantile(probability: float) -> float:
    """The standard normal's quantile."""
    from statistics import NormalDist

    return Z95 if probability == 0.975 else NormalDist().inv_cdf(probability)


@functools.cache
def t_quantile(probability: float, degrees: float) -> float:
    """Student's t quantile for `degrees` > 0, to 1e-10: by bisection of the distribution function."""
    if degrees > 1e7:
        return normal_quantile(probability)
    if probability < 0.5:
        return -t_quantile(1.0 - probability, degrees)
    low, high = 0.0, 2.0
    while t_cdf(high, degrees) < probability:
        low, high = high, 2.0 * high
    for _ in range(200):
        middle = (low + high) / 2
        if t_cdf(middle, degrees) < probability:
            low = middle
        else:
            high = middle
        if high - low <= 1e-13 * high:
            break
    return (low + high) / 2


def t_cdf(value: float, degrees: float) -> float:
    """P(T <= value) of Student's t, by the incomplete beta function (Abramowitz & Stegun 26.7.1)."""
    tail = 0.5 * _incomplete_beta(degrees / (degrees + value * value), degrees / 2, 0.5)
    return 1.0 - tail if value >= 0 else tail


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (Abramowitz & Stegun 26.5.8)."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _incomplete_beta(1.0 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    tiny = 1e-300
    c, d = 1.0, 1.0 / max(tiny, 1.0 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / (1.0 + term * d or tiny)
            c = 1.0 + term / c or tiny
            fraction *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return front * fraction / a
