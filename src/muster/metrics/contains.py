"""Contains: an accepted answer occurs somewhere in the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from muster.core import Sample
from muster.metrics.averages import mean_score
from muster.metrics.protocol import MetricInfo, Score, ScoredSample


class Contains:
    """1 where any accepted answer that is not blank is a substring, blanks collapsed, else 0."""

    variants: ClassVar[tuple[str, ...]] = ("muster",)

    def __init__(self, variant: str = "muster", *, ignore_case: bool = True) -> None:
        self._ignore_case = ignore_case
        self.info = MetricInfo(
            name="contains",
            variant=variant,
            version=1,
            primary="accuracy",
            units={"accuracy": "0-1"},
            means={"accuracy": "accuracy"},
        )

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is the accepted answer that was found."""
        text = self._normal(prediction)
        wanted = ((answer, self._normal(answer)) for answer in sample.answers)
        found = next((answer for answer, normal in wanted if normal and normal in text), None)
        return Score({"accuracy": float(found is not None)}, found)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """The mean accuracy, 0-1."""
        return {"accuracy": mean_score(rows, "accuracy")}

    def _normal(self, text: str) -> str:
        collapsed = " ".join(text.split())
        return collapsed.casefold() if self._ignore_case else collapsed
