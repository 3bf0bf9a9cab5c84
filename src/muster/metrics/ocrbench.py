"""OCRBench (Liu et al. 2023): an accepted answer occurs in the answer; 1,000 questions, one point each.

Variants after lmms-eval (folds full-width characters) and VLMEvalKit (doesn't). Handwritten mathematics (HME100k)
is compared without spaces and with its case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from muster.core import Sample
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.terms import Terms
from muster.metrics.variants import VariantMetric

if TYPE_CHECKING:
    from muster.metrics.terms import Array

_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
_FORMULAS = "Handwritten Mathematical Expression Recognition"
_MATHEMATICS = {
    "lmms-eval": ("dataset", "HME100k"),
    "vlmevalkit": ("question_type", _FORMULAS),
}
"""The metadata key and value by which each toolkit knows handwritten mathematics."""
_QUESTIONS = 1000


@dataclass(frozen=True, kw_only=True)
class OcrBench(VariantMetric):
    """OCRBench's points, and what each toolkit makes of them.

    `accuracy` 0-1; `score` points; `text_recognition` the points of its six types of text recognition (metadata
    key `question_type`); lmms-eval's `final` is points / 1000 and VLMEvalKit's `norm` points / 10, whatever the
    number of questions. The points of each type are those of a breakdown by `question_type`.
    """

    name: ClassVar[str] = "ocrbench"
    reads_answers: ClassVar[bool] = False
    variants: ClassVar[tuple[str, ...]] = ("lmms-eval", "vlmevalkit")
    variant: str = "lmms-eval"

    @cached_property
    def info(self) -> MetricInfo:
        """Points, and the toolkit's scale of them."""
        units = {"accuracy": "0-1", "score": "points", "text_recognition": "points"}
        units |= {"final": "0-1"} if self._folds else {"norm": "percent"}
        return self._described("score", units, {"accuracy": "accuracy"})

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is the accepted answer that was found."""
        key, value = _MATHEMATICS[self.variant]
        clean = _formula if sample.metadata.get(key) == value else self._text
        text = clean(prediction)
        found = next((answer for answer in sample.answers if clean(answer) in text), None)
        return Score({"accuracy": float(found is not None)}, found)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Points are the sum over the rows."""
        points = sum((row.score.scores["accuracy"] for row in rows), 0.0)
        recognised = sum((row.score.scores["accuracy"] for row in rows if _is_recognition(row.sample)), 0.0)
        result = {"accuracy": points / len(rows), "score": points, "text_recognition": recognised}
        return result | ({"final": points / _QUESTIONS} if self._folds else {"norm": points / 10})

    def additive_terms(self, rows: Sequence[ScoredSample]) -> Terms:
        """Per row: its point, and its point if it is text recognition."""
        import numpy as np

        points = np.array([row.score.scores["accuracy"] for row in rows])
        recognition = np.array([_is_recognition(row.sample) for row in rows])
        values = np.stack([points, points * recognition], axis=1)
        return Terms(np.arange(len(rows)), values, np.zeros(len(rows), dtype=np.int64), self._of_sums)

    def _of_sums(self, sums: Array) -> dict[str, Array]:
        points, recognised = sums[:, 0, 0], sums[:, 0, 1]
        scaled = {"final": points / _QUESTIONS} if self._folds else {"norm": points / 10}
        return {"score": points, "text_recognition": recognised, **scaled}

    @property
    def _folds(self) -> bool:
        return self.variant == "lmms-eval"

    def _text(self, text: str) -> str:
        folded = text.translate(_FULL_WIDTH) if self._folds else text
        return folded.lower().strip().replace("\n", " ")


def _formula(text: str) -> str:
    return text.strip().replace("\n", " ").replace(" ", "")


def _is_recognition(sample: Sample) -> bool:
    kind = str(sample.metadata.get("question_type", ""))
    return kind.endswith("Recognition") and kind != _FORMULAS
