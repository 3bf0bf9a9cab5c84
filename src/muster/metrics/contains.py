"""Contains: an accepted answer occurs somewhere in the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from muster.core import Sample
from muster.metrics.mean_metric import MeanMetric
from muster.metrics.protocol import Score


@dataclass(frozen=True, kw_only=True)
class Contains(MeanMetric):
    """1 where any accepted answer that is not blank is a substring, blanks collapsed, else 0."""

    name: ClassVar[str] = "contains"
    reads_answers: ClassVar[bool] = False
    variants: ClassVar[tuple[str, ...]] = ("muster",)
    variant: str = "muster"
    ignore_case: bool = True

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is the accepted answer that was found."""
        text = self._normal(prediction)
        wanted = ((answer, self._normal(answer)) for answer in sample.answers)
        found = next((answer for answer, normal in wanted if normal and normal in text), None)
        return Score({"accuracy": float(found is not None)}, found)

    def _normal(self, text: str) -> str:
        collapsed = " ".join(text.split())
        return collapsed.casefold() if self.ignore_case else collapsed
