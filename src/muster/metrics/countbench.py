"""CountBench (Paiss et al. 2023), as questions (CountBenchQA): is the number the right one?

Sources: lmms-eval's task and VLMEvalKit's class; the variant `muster` is our own. The paper scores captions by CLIP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from muster.core import Sample
from muster.metrics.mean_metric import MeanMetric
from muster.metrics.numbers import UP_TO_TWENTY, stated_number
from muster.metrics.protocol import Score


@dataclass(frozen=True, kw_only=True)
class CountBench(MeanMetric):
    """`muster` takes the number that is stated or the only one, in digits or words up to twenty.

    lmms-eval compares the whole answer, a number word made digits; VLMEvalKit asks whether the right digits are in it
    ("12" for 2 is right).
    """

    name: ClassVar[str] = "countbench"
    variants: ClassVar[tuple[str, ...]] = ("muster", "lmms-eval", "vlmevalkit")
    percentages: ClassVar[dict[str, str]] = {"vlmevalkit": "overall"}

    variant: str = "muster"

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is the number."""
        if self.variant == "vlmevalkit":
            return Score(
                {"accuracy": float(any(answer in prediction for answer in sample.answers))}, prediction
            )
        if self.variant == "lmms-eval":
            said: str | None = _in_digits(prediction)
        else:
            said = stated_number(prediction)
        hit = said is not None and said in map(_in_digits, sample.answers)
        return Score({"accuracy": float(hit)}, said)


def _in_digits(text: str) -> str:
    normal = text.strip().lower()
    return "0" if normal == "none" else str(UP_TO_TWENTY.get(normal, normal))
