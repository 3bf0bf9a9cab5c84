"""Metrics whose score is the mean of one number per answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from muster.metrics.averages import mean, numpy_mean, score_values
from muster.metrics.protocol import MetricInfo, ScoredSample
from muster.metrics.variants import VariantMetric


@dataclass(frozen=True, kw_only=True)
class MeanMetric(VariantMetric):
    """The mean of the per-answer score `score_name`, 0-1, in the way that the variant's toolkit adds up."""

    score_name: ClassVar[str] = "accuracy"
    percentages: ClassVar[Mapping[str, str]] = {}
    """Variants whose toolkit prints 100 times the mean, and what it calls that."""

    @property
    def further_means(self) -> tuple[str, ...]:
        """Further scores of an answer whose mean is given too, 0-1."""
        return ()

    @cached_property
    def info(self) -> MetricInfo:
        """The means, and the percentage that the toolkit prints."""
        units = {self.score_name: "0-1"}
        if self.variant in self.percentages:
            units[self.percentages[self.variant]] = "percent"
        means = dict.fromkeys(units, self.score_name) | {name: name for name in self.further_means}
        return self._described(self.score_name, units | dict.fromkeys(self.further_means, "0-1"), means)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`."""
        add_up = numpy_mean if self.variant.startswith("vlmevalkit") else mean
        return {
            name: add_up(score_values(rows, score)) * (100 if self.info.units[name] == "percent" else 1)
            for name, score in self.info.means.items()
        }
