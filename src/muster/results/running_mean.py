"""A mean with its 95 % interval, kept up as values come: for scores that are shown while a run goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from muster.results.intervals import wilson
from muster.results.quantiles import Z95, t_quantile

_MANY = 1000
"""From here on Student's t is the normal distribution's to three digits."""


@dataclass(slots=True)
class RunningMean:
    """Of values that are taken to be independent, as `muster.results.intervals.mean_estimate` has it.

    Final scores know of clusters and have their own intervals.
    """

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, value: float) -> None:
        """One more value."""
        self.count += 1
        self.total += value
        self.squares += value * value
        if value < self.low:
            self.low = value
        if value > self.high:
            self.high = value

    @property
    def mean(self) -> float | None:
        """None of no values."""
        return self.total / self.count if self.count else None

    @property
    def ci95(self) -> tuple[float, float] | None:
        """Wilson's interval for values between 0 and 1, with their effective number; else mean ± t · SE.

        None of fewer than two values, and of values that don't vary and aren't between 0 and 1.
        """
        if self.count < 2:
            return None
        mean = self.total / self.count
        variance = max(0.0, self.squares - self.total * mean) / (self.count - 1)
        error = math.sqrt(variance / self.count)
        quantile = t_quantile(0.975, self.count - 1) if self.count < _MANY else Z95
        if self.low >= 0 and self.high <= 1:
            spread = mean * (1 - mean)
            size = float(self.count)
            if error > 0 and spread > 0:
                size = spread / error**2 * self.count / (self.count - 1)
            binary = self.squares == self.total
            return wilson(mean, size, Z95 if binary else quantile)
        if error == 0:
            return None
        margin = quantile * error
        return mean - margin, mean + margin
