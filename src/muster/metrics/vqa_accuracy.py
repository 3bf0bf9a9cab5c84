"""VQA accuracy (Antol et al. 2015; TextVQA, VQAv2): agreement with the people who answered.

For each of the n human answers, the others are asked: min(1, matches / 3); the score is the mean of the n.
Variants after lmms-eval (exact mean), InternVL's `textvqa_eval.py` (EvalAI's evaluator) and VLMEvalKit.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import ClassVar, Literal

from muster.core import Sample
from muster.metrics import vqa_text
from muster.metrics.averages import mean, mean_score
from muster.metrics.protocol import MetricInfo, Score, ScoredSample

Benchmark = Literal["textvqa", "vqav2"]


class VqaAccuracy:
    """VQA accuracy. `benchmark` chooses between lmms-eval's two sets of normalisation steps.

    The answers of a sample count as different people's, also where two are equal (VQAv2's `answer_id`).
    """

    variants: ClassVar[tuple[str, ...]] = ("lmms-eval", "internvl", "vlmevalkit")

    def __init__(self, variant: str = "lmms-eval", *, benchmark: Benchmark = "textvqa") -> None:
        self._variant = variant
        self._normal = vqa_text.evalai
        if variant == "vlmevalkit":
            self._normal = vqa_text.vlmevalkit
        elif variant == "lmms-eval" and benchmark == "vqav2":
            self._normal = vqa_text.lmms_eval_vqav2
        self.info = MetricInfo(
            name="vqa_accuracy",
            variant=variant,
            version=1,
            primary="accuracy",
            units={"accuracy": "0-1"},
            means={"accuracy": "accuracy"},
        )

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` between 0 and 1; `extracted` is the normalised answer."""
        if self._variant == "lmms-eval":
            prediction = prediction.strip()
        said = self._normal(prediction)
        answers = [self._normal(answer) for answer in sample.answers]
        if said not in answers:
            return Score({"accuracy": 0.0}, said)
        matches = answers.count(said)
        agreed = [min(1.0, (matches - (answer == said)) / 3) for answer in answers]
        return Score({"accuracy": self._mean(agreed)}, said)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """The mean accuracy, 0-1."""
        return {"accuracy": mean_score(rows, "accuracy")}

    def _mean(self, values: list[float]) -> float:
        """The toolkits add up differently, which shows in the last bit."""
        if self._variant == "lmms-eval":
            return statistics.mean(values)
        if self._variant == "internvl":
            return mean(values)
        import numpy as np

        return float(np.mean(values))
