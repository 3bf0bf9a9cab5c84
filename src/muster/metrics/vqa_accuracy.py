"""VQA accuracy (Antol et al. 2015; TextVQA, VQAv2): agreement with the people who answered.

For each of the n human answers, the others are asked: min(1, matches / 3); the score is the mean of the n.
Variants after lmms-eval (exact mean), InternVL's `textvqa_eval.py` (EvalAI's evaluator) and VLMEvalKit.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from muster.core import Sample
from muster.metrics import vqa_text
from muster.metrics.averages import mean, numpy_mean
from muster.metrics.mean_metric import MeanMetric
from muster.metrics.protocol import Score

Benchmark = Literal["textvqa", "vqav2", "okvqa", "vizwiz"]
_IN_VLMEVALKIT = ("textvqa", "vizwiz")


@dataclass(frozen=True, kw_only=True)
class VqaAccuracy(MeanMetric):
    """VQA accuracy. lmms-eval normalises answers of the `benchmark` vqav2 in fewer steps; VLMEvalKit doesn't score all.

    The answers of a sample count as different people's, also where two are equal (VQAv2's `answer_id`).
    """

    name: ClassVar[str] = "vqa_accuracy"
    variants: ClassVar[tuple[str, ...]] = ("lmms-eval", "internvl", "vlmevalkit")
    percentages: ClassVar[Mapping[str, str]] = {"vlmevalkit": "overall"}

    variant: str = "lmms-eval"
    benchmark: Benchmark = "textvqa"

    @property
    def offered(self) -> tuple[str, ...]:
        """VLMEvalKit has TextVQA and VizWiz only."""
        return self.variants if self.benchmark in _IN_VLMEVALKIT else self.variants[:-1]

    def has_reference(self, sample: Sample) -> bool:
        """Whether several people answered: with one there is nobody to agree with, and all would be wrong."""
        return len(sample.answers) > 1

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` between 0 and 1; `extracted` is the normalised answer."""
        if self.variant == "lmms-eval":
            prediction = prediction.strip()
        said = self._normal(prediction)
        answers = [self._normal(answer) for answer in sample.answers]
        if said not in answers:
            return Score({"accuracy": 0.0}, said)
        matches = answers.count(said)
        agreed = [min(1.0, (matches - (answer == said)) / 3) for answer in answers]
        return Score({"accuracy": self._mean(agreed)}, said)

    def _mean(self, values: list[float]) -> float:
        """The toolkits add up differently, which shows in the last bit."""
        if self.variant == "lmms-eval":
            return statistics.mean(values)
        if self.variant == "internvl":
            return mean(values)
        return numpy_mean(values)

    def _normal(self, text: str) -> str:
        if self.variant == "vlmevalkit":
            return vqa_text.vlmevalkit(text)
        if self.variant == "lmms-eval" and self.benchmark == "vqav2":
            return vqa_text.lmms_eval_vqav2(text)
        return vqa_text.evalai(text)
