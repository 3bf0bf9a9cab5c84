"""MM-Vet (Yu et al. 2023): a judge grades each answer between 0 and 1; the score is 100 times the mean grade.

Variants: `official`, after the authors' evaluator (mm-vet_evaluator.py), and `lmms-eval`, which strips the answer.
Where no grade can be read they ask again, at higher temperatures, and in the end give 0; here the answer is unscored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from muster.core import Sample
from muster.metrics.averages import mean, mean_score
from muster.metrics.judge_prompts import judge_prompt
from muster.metrics.protocol import Inquiry, MetricInfo, Score, ScoredSample, UnscoredError
from muster.metrics.variants import VariantMetric

_PROMPT = "mmvet"
CAPABILITIES = ("rec", "ocr", "know", "gen", "spat", "math")


@dataclass(frozen=True, kw_only=True)
class MmVet(VariantMetric):
    """`total`, and the same over the questions that need a capability: `rec`, `ocr`, `know`, `gen`, `spat`, `math`.

    `capability` is the metadata key of a question's capabilities: a list, or a text with commas (`rec,ocr`).
    """

    name: ClassVar[str] = "mmvet"
    variants: ClassVar[tuple[str, ...]] = ("official", "lmms-eval")

    variant: str = "official"
    capability: str = "capability"

    @cached_property
    def info(self) -> MetricInfo:
        """Percentages, as the paper prints them."""
        units = dict.fromkeys(("total", *CAPABILITIES), "percent")
        return self._described("total", units, {"total": "grade"})

    @property
    def judge_prompt(self) -> str | None:
        """See `JudgedMetric`."""
        return judge_prompt(_PROMPT).label

    def inquiry(self, sample: Sample, prediction: str) -> Inquiry:
        """The grading prompt: every answer is graded."""
        truth = sample.answer.replace("<AND>", " <AND> ").replace("<OR>", " <OR> ")
        if self.variant == "lmms-eval":
            prediction = prediction.strip()
        places = {"question": sample.question, "truth": truth, "prediction": prediction}
        return judge_prompt(_PROMPT).fill(places)

    def score(self, sample: Sample, prediction: str) -> Score:  # noqa: ARG002
        """Always raises `UnscoredError`."""
        raise UnscoredError("a judge would have to grade this answer")

    def score_verdict(self, sample: Sample, verdict: str) -> Score:  # noqa: ARG002
        """`grade` between 0 and 1: the verdict's first word, as in the evaluator."""
        words = verdict.split()
        try:
            grade = float(words[0]) if words else -1.0
        except ValueError:
            grade = -1.0
        if not 0.0 <= grade <= 1.0:
            raise UnscoredError(f"the judge's verdict has no grade between 0 and 1: {verdict[:80]!r}")
        return Score({"grade": grade}, words[0])

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`; a capability that no question needs has no value (NaN)."""
        result = {"total": 100 * mean_score(rows, "grade")}
        for capability in CAPABILITIES:
            grades = [row.score.scores["grade"] for row in rows if capability in self._needed(row.sample)]
            result[capability] = 100 * mean(grades) if grades else float("nan")
        return result

    def _needed(self, sample: Sample) -> set[str]:
        value = sample.metadata.get(self.capability)
        words = value if isinstance(value, list) else str(value or "").split(",")
        return {str(word).strip() for word in words}
