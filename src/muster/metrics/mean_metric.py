"""Metrics whose score is the mean of one number per answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from muster.metrics.averages import mean, numpy_mean
from muster.metrics.protocol import MetricInfo, ScoredSample
from muster.metrics.variants import VariantMetric


@dataclass(frozen=True, kw_only=True)
class MeanMetric(VariantMetric):
    """The mean of the per-answer score `score_name`, 0-1, in the way that the variant's toolkit adds up."""

    score_name: ClassVar[str] = "accuracy"
    percentages: ClassVar[Mapping[str, str]] = {}
    """Variants whose toolkit prints 100 times the mean, and what it calls that."""

    @cached_property
    def info(self) -> MetricInfo:
        """The mean, and the percentage that the toolkit prints."""
        units = {self.score_name: "0-1"}
        if self.variant in self.percentages:
            units[self.percentages[self.variant]] = "percent"
        return self._described(self.score_name, units, dict.fromkeys(units, self.score_name))

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`."""
        scores = [row.score.scores[self.score_name] for row in rows]
        value = numpy_mean(scores) if self.variant == "vlmevalkit" else mean(scores)
        return {
            name: value * 100 if unit == "percent" else value
            for name, unit in self.info.units.items()
            if name in self.info.means
        }
