"""LLaVA-Bench in the wild (Liu et al. 2023): a judge rates a reference answer and the model's, each from 1 to 10.

Source: eval_gpt_review_bench.py and summarize_gpt_review.py of the authors' repository, which lmms-eval and VLMEvalKit
follow. A review whose first line isn't two scores counts there as two scores of -1; here such an answer is unscored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from muster.core import JSON, Sample
from muster.metrics.averages import mean_score, numpy_mean
from muster.metrics.judge_prompts import judge_prompt
from muster.metrics.protocol import Inquiry, MetricInfo, Score, ScoredSample, UnscoredError
from muster.metrics.variants import VariantMetric

_PROMPT = "llava_bench"
_TWO_SCORES = re.compile(r"\s*(\d+(?:\.\d+)?)[\s,]+(\d+(?:\.\d+)?)\s*")
_MOST = 10.0


@dataclass(frozen=True, kw_only=True)
class LlavaBench(VariantMetric):
    """`relative`: 100 times the mean score of the answers over that of the references; and both, times ten.

    The authors (`official`) round both means to three digits and their ratio to one, VLMEvalKit nothing. The sample's
    answer is the reference, its metadata has the `caption` of the image.
    """

    name: ClassVar[str] = "llava_bench"
    variants: ClassVar[tuple[str, ...]] = ("official", "vlmevalkit")

    variant: str = "official"
    caption: str = "caption"

    @cached_property
    def info(self) -> MetricInfo:
        """Percentages, as the paper prints them."""
        return self._described("relative", dict.fromkeys(("relative", "answers", "references"), "percent"))

    @property
    def judge_prompt(self) -> str | None:
        """See `JudgedMetric`."""
        return judge_prompt(_PROMPT).label

    def inquiry(self, sample: Sample, prediction: str) -> Inquiry:
        """The review prompt: every answer is reviewed."""
        return judge_prompt(_PROMPT).fill(
            {
                "context": _lines(sample.metadata.get(self.caption)),
                "question": sample.question,
                "reference": sample.answer,
                "prediction": prediction,
            }
        )

    def score(self, sample: Sample, prediction: str) -> Score:  # noqa: ARG002
        """Always raises `UnscoredError`."""
        raise UnscoredError("a judge would have to review this answer")

    def score_verdict(self, sample: Sample, verdict: str) -> Score:  # noqa: ARG002
        """`reference` and `answer`, 0 to 10: the first line of the review."""
        first = verdict.strip().split("\n")[0]
        found = _TWO_SCORES.fullmatch(first)
        scores = [float(part) for part in found.groups()] if found else []
        if not scores or max(scores) > _MOST:
            raise UnscoredError(f"the judge's review doesn't begin with a line of two scores: {first[:80]!r}")
        return Score({"reference": scores[0], "answer": scores[1]}, first.strip())

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`; `relative` is NaN where the references have no points."""
        if self.variant == "vlmevalkit":
            answers, references = (
                numpy_mean([row.score.scores[name] for row in rows]) for name in ("answer", "reference")
            )
            relative = answers / references * 100 if references else float("nan")
        else:
            answers, references = (round(mean_score(rows, name), 3) for name in ("answer", "reference"))
            relative = round(answers / references * 100, 1) if references else float("nan")
        return {"relative": relative, "answers": 10 * answers, "references": 10 * references}


def _lines(caption: JSON) -> str:
    if isinstance(caption, list):
        return "\n".join(map(str, caption))
    return "" if caption is None else str(caption)
