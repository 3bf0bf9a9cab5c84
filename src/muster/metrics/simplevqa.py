"""SimpleVQA (Cheng et al. 2025): answers to questions of fact are correct, incorrect, or not attempted.

Sources: the authors' evaluation (`official`), which a judge sorts answers for, and lmms-eval's task, which compares
normalised texts; the variant `muster` asks the judge only about answers that aren't equal to the right one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from muster.core import Sample
from muster.metrics import vqa_text
from muster.metrics.averages import mean_score, ratio
from muster.metrics.judge_prompts import judge_prompt
from muster.metrics.protocol import Inquiry, MetricInfo, Score, ScoredSample, UnscoredError
from muster.metrics.variants import VariantMetric

_PROMPT = "simplevqa"
_OFFICIAL, _LMMS_EVAL = "official", "lmms-eval"
_KINDS = {
    "A": "correct",
    "B": "incorrect",
    "C": "not_attempted",
    "正确": "correct",
    "错误": "incorrect",
    "未尝试": "not_attempted",
}
_KIND = re.compile(r"[\s*'\"(\[]*([ABC]|正确|错误|未尝试)(?![A-Za-z])")
_SHARES = ("correct", "incorrect", "not_attempted")
_ROUNDED = 4


@dataclass(frozen=True, kw_only=True)
class SimpleVqa(VariantMetric):
    """The shares of answers that are `correct`, `incorrect` and `not_attempted`; `given_attempted`, the share of the
    attempted ones that is correct; and `f1`, the harmonic mean of that and `correct`.

    The authors round the shares to four digits before they go on. In lmms-eval there is only `correct`.
    """

    name: ClassVar[str] = "simplevqa"
    variants: ClassVar[tuple[str, ...]] = ("muster", _OFFICIAL, _LMMS_EVAL)

    variant: str = "muster"

    @cached_property
    def info(self) -> MetricInfo:
        """All 0-1."""
        if self.variant == _LMMS_EVAL:
            return self._described("correct", {"correct": "0-1"}, {"correct": "correct"})
        units = dict.fromkeys((*_SHARES, "given_attempted", "f1"), "0-1")
        means = {} if self.variant == _OFFICIAL else {name: name for name in _SHARES}
        return self._described(
            "correct" if self.variant == "muster" else "f1", units, means or {"correct": "correct"}
        )

    @property
    def judge_prompt(self) -> str | None:
        """See `JudgedMetric`."""
        return None if self.variant == _LMMS_EVAL else judge_prompt(_PROMPT).label

    def score(self, sample: Sample, prediction: str) -> Score:
        """The kind of answer, where no judge is needed. Raises `UnscoredError` where one is."""
        equal = _is_equal(sample, prediction)
        if self.variant == _LMMS_EVAL:
            return Score({"correct": float(equal)}, prediction)
        if self.variant == "muster" and (equal or not prediction.strip()):
            return _of_kind("correct" if equal else "not_attempted")
        raise UnscoredError("a judge would have to sort this answer")

    def inquiry(self, sample: Sample, prediction: str) -> Inquiry | None:
        """Which kind of answer it is."""
        if self.variant == _LMMS_EVAL:
            return None
        if self.variant == "muster" and (_is_equal(sample, prediction) or not prediction.strip()):
            return None
        places = {"question": sample.question, "truth": sample.answer, "prediction": prediction.strip()}
        return judge_prompt(_PROMPT).fill(places)

    def score_verdict(self, sample: Sample, verdict: str) -> Score:  # noqa: ARG002
        """The kind that the verdict begins with, as a letter or in the authors' words."""
        found = _KIND.match(verdict)
        if not found:
            raise UnscoredError(f"the judge's verdict is none of A, B and C: {verdict[:80]!r}")
        return _of_kind(_KINDS[found.group(1)])

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`."""
        if self.variant == _LMMS_EVAL:
            return {"correct": mean_score(rows, "correct")}
        shares = {name: mean_score(rows, name) for name in _SHARES}
        attempted = shares["correct"] + shares["incorrect"]
        if self.variant == _OFFICIAL:
            shares = {name: round(value, _ROUNDED) for name, value in shares.items()}
            attempted = round(shares["correct"] + shares["incorrect"], _ROUNDED)
        given = ratio(shares["correct"], attempted)
        f1 = ratio(2 * given * shares["correct"], given + shares["correct"])
        return {**shares, "given_attempted": given, "f1": f1}


def _of_kind(kind: str) -> Score:
    return Score({name: float(name == kind) for name in _SHARES}, kind)


def _is_equal(sample: Sample, prediction: str) -> bool:
    return any(vqa_text.evalai(prediction) == vqa_text.evalai(answer) for answer in sample.answers)
