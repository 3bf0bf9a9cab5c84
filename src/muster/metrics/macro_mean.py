"""An accuracy over the questions, and its unweighted mean over categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from muster.metrics.averages import mean, mean_score
from muster.metrics.mean_metric import MeanMetric
from muster.metrics.protocol import MetricInfo, ScoredSample
from muster.metrics.terms import Terms, numbered, ratios

if TYPE_CHECKING:
    from muster.core import Sample
    from muster.metrics.terms import Array


@dataclass(frozen=True, kw_only=True)
class MacroMean(MeanMetric):
    """`accuracy` over the questions, and `average`, the unweighted mean over the accuracies of categories.

    `macro` is the metadata key of the category. `headline` names the variants whose score for the task is `average`.
    """

    headline: ClassVar[tuple[str, ...]] = ()
    variant: str = "muster"
    macro: str

    @cached_property
    def info(self) -> MetricInfo:
        """Micro and macro average."""
        primary = "average" if self.variant in self.headline else "accuracy"
        return self._described(primary, {"accuracy": "0-1", "average": "0-1"}, {"accuracy": "accuracy"})

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Accuracy over the questions, and its average over the categories."""
        categories: dict[str, list[float]] = {name: [] for name in self._added_first()}
        for row in rows:
            categories.setdefault(self._category_of(row.sample), []).append(row.score.scores["accuracy"])
        return {
            "accuracy": mean_score(rows, "accuracy"),
            "average": mean(mean(scores) for scores in categories.values() if scores),
        }

    def additive_terms(self, rows: Sequence[ScoredSample]) -> Terms:
        """Per row: 1 and its score, apart for each category."""
        import numpy as np

        scores = np.array([row.score.scores["accuracy"] for row in rows])
        values = np.stack([np.ones(len(rows)), scores], axis=1)
        strata = numbered((self._category_of(row.sample) for row in rows), {})
        return Terms(np.arange(len(rows)), values, strata, _macro_average)

    def _added_first(self) -> Sequence[str]:
        """Categories that are added up first, in this order; the others as they appear."""
        return ()

    def _category_of(self, sample: Sample) -> str:
        return str(sample.metadata.get(self.macro))


def _macro_average(sums: Array) -> dict[str, Array]:
    questions, right = sums[..., 0], sums[..., 1]
    return {"average": ratios(right, questions).sum(axis=1) / (questions > 0).sum(axis=1)}
