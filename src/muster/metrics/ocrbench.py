"""OCRBench (Liu et al. 2023): an accepted answer occurs in the answer; 1,000 questions, one point each.

Variants after lmms-eval (folds full-width characters) and VLMEvalKit (doesn't). Handwritten mathematics (HME100k)
is compared without spaces and with its case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from muster.core import Sample
from muster.metrics.averages import mean_score
from muster.metrics.protocol import MetricInfo, Score, ScoredSample

_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
_MATHEMATICS = {
    "lmms-eval": ("dataset", "HME100k"),
    "vlmevalkit": ("question_type", "Handwritten Mathematical Expression Recognition"),
}
"""The metadata key and value by which each toolkit knows handwritten mathematics."""
_QUESTIONS = 1000


class OcrBench:
    """OCRBench's points, and what each toolkit makes of them.

    `accuracy` 0-1; `score` points; lmms-eval's `final` is points / 1000 and VLMEvalKit's `norm` points / 10,
    whatever the number of questions.
    """

    variants: ClassVar[tuple[str, ...]] = ("lmms-eval", "vlmevalkit")

    def __init__(self, variant: str = "lmms-eval") -> None:
        self._folds = variant == "lmms-eval"
        self._mathematics = _MATHEMATICS[variant]
        self._scaled = "final" if self._folds else "norm"
        units = {"accuracy": "0-1", "score": "points", self._scaled: "0-1" if self._folds else "percent"}
        self.info = MetricInfo(
            name="ocrbench",
            variant=variant,
            version=1,
            primary="score",
            units=units,
            means={"accuracy": "accuracy"},
        )

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is the accepted answer that was found."""
        key, value = self._mathematics
        clean = _formula if sample.metadata.get(key) == value else self._text
        text = clean(prediction)
        found = next((answer for answer in sample.answers if clean(answer) in text), None)
        return Score({"accuracy": float(found is not None)}, found)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Points are the sum over the rows."""
        points = sum((row.score.scores["accuracy"] for row in rows), 0.0)
        scaled = points / _QUESTIONS if self._folds else points / 10
        return {"accuracy": mean_score(rows, "accuracy"), "score": points, self._scaled: scaled}

    def _text(self, text: str) -> str:
        folded = text.translate(_FULL_WIDTH) if self._folds else text
        return folded.lower().strip().replace("\n", " ")


def _formula(text: str) -> str:
    return text.strip().replace("\n", " ").replace(" ", "")
