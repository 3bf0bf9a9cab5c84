r"""Free answers that a judge compares with the right one: BabyVision, MMVU and MathVerse.

The authors have every answer judged (`official`). The variant `muster` asks only where rules can't tell: a choice is
read as in `multiple_choice`, and an answer that is equal to the right one as a text or as a number is right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from muster.core import Sample
from muster.metrics.averages import mean_score
from muster.metrics.judge_prompts import judge_prompt
from muster.metrics.letter_choice import right_letters
from muster.metrics.letters.muster import read_choice
from muster.metrics.letters.options import lettered
from muster.metrics.open_numbers import boxes, last_boxed
from muster.metrics.protocol import Inquiry, MetricInfo, Score, ScoredSample, UnscoredError
from muster.metrics.variants import VariantMetric

_PROMPT = "answer_match"
_OFFICIAL = "official"
_BEGUN_BOX, _ENDED_BOX = "<|begin_of_box|>", "<|end_of_box|>"
_BLANKS = re.compile(r"\s+")
_YES = re.compile(r"\b(true|yes)\b")
_NO = re.compile(r"\b(false|no)\b")


@dataclass(frozen=True, kw_only=True)
class JudgedMatch(VariantMetric):
    """The share of answers that mean what the right answer says."""

    name: ClassVar[str] = "judged_match"
    variants: ClassVar[tuple[str, ...]] = ("muster", _OFFICIAL)

    variant: str = "muster"

    @cached_property
    def info(self) -> MetricInfo:
        """`accuracy`."""
        return self._described("accuracy", {"accuracy": "0-1"}, {"accuracy": "accuracy"})

    @property
    def judge_prompt(self) -> str | None:
        """See `JudgedMetric`."""
        return judge_prompt(_PROMPT).label

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1, where rules can tell. Raises `UnscoredError` where a judge has to."""
        score = None if self.variant == _OFFICIAL else _by_rule(sample, prediction)
        if score is None:
            raise UnscoredError("a judge would have to compare this answer with the right one")
        return score

    def inquiry(self, sample: Sample, prediction: str) -> Inquiry | None:
        """Whether the answer, or what is boxed in it, means the right one."""
        if self.variant != _OFFICIAL and _by_rule(sample, prediction) is not None:
            return None
        places = {
            "question": self._question(sample),
            "truth": sample.answer,
            "prediction": self._compared(prediction),
        }
        return judge_prompt(_PROMPT).fill(places)

    def score_verdict(self, sample: Sample, verdict: str) -> Score:  # noqa: ARG002
        """1 for true, 0 for false. Raises `UnscoredError` for anything else."""
        said = verdict.strip().lower()
        yes, no = bool(_YES.search(said)), bool(_NO.search(said))
        if yes == no:
            raise UnscoredError(f"the judge's verdict is neither true nor false: {verdict[:80]!r}")
        return Score({"accuracy": float(yes)}, "true" if yes else "false")

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """The mean."""
        return {"accuracy": mean_score(rows, "accuracy")}

    def _question(self, sample: Sample) -> str:
        options = lettered(sample.choices)
        return "\n".join([sample.question, *(f"({letter}) {text}" for letter, text in options.items())])

    def _compared(self, prediction: str) -> str:
        """What of an answer the judge is shown."""
        return prediction.strip()


@dataclass(frozen=True, kw_only=True)
class BabyVision(JudgedMatch):
    """BabyVision (UniPat AI 2026). The authors have what is in the last box judged, "None" where there is none; true
    anywhere in the verdict is true, everything else is false.
    """

    name: ClassVar[str] = "babyvision"

    def score_verdict(self, sample: Sample, verdict: str) -> Score:
        """See `JudgedMatch`; the authors count what can't be read as false."""
        if self.variant != _OFFICIAL:
            return super().score_verdict(sample, verdict)
        hit = "true" in verdict.strip().lower()
        return Score({"accuracy": float(hit)}, "true" if hit else "false")

    def _compared(self, prediction: str) -> str:
        if self.variant == _OFFICIAL:
            return str(official_box(prediction))
        return last_boxed(prediction) or prediction.strip()


@dataclass(frozen=True, kw_only=True)
class Mmvu(JudgedMatch):
    """MMVU (Zhao et al. 2025): multiple choice of five, and open questions."""

    name: ClassVar[str] = "mmvu"


@dataclass(frozen=True, kw_only=True)
class MathVerse(JudgedMatch):
    """MathVerse (Zhang et al. 2024). The authors ask twice, to extract the answer and to compare it; here it is one
    question, so that there is no variant of theirs. The versions of a problem apart: a breakdown by `problem_version`.
    """

    name: ClassVar[str] = "mathverse"
    variants: ClassVar[tuple[str, ...]] = ("muster",)

    def _compared(self, prediction: str) -> str:
        return last_boxed(prediction) or prediction.strip()


def official_box(text: str) -> str | None:
    r"""BabyVision's: the content of the last `\boxed{…}`, else of the last `<|begin_of_box|>…<|end_of_box|>`."""
    found = boxes(text)
    if found:
        return found[-1]
    last = None
    for line in text.split("\n"):
        place = 0
        while (start := line.find(_BEGUN_BOX, place)) >= 0:
            end = line.find(_ENDED_BOX, start)
            if end < 0:
                break
            last, place = line[start + len(_BEGUN_BOX) : end].strip(), end + len(_ENDED_BOX)
    return last


def _by_rule(sample: Sample, prediction: str) -> Score | None:
    """The score where no judge is needed; None where one is."""
    said = last_boxed(prediction) or prediction.strip()
    if sample.choices:
        options = lettered(sample.choices)
        letter = read_choice(prediction, options)
        if letter is None and said:
            return None
        return Score({"accuracy": float(letter in right_letters(sample.answers, options))}, letter)
    if not said:
        return Score({"accuracy": 0.0}, None)
    if len(sample.answer) == 1 and sample.answer.isupper():  # a letter whose options stand in the question
        letter = read_choice(prediction, {})
        return None if letter is None else Score({"accuracy": float(letter in sample.answers)}, letter)
    right = any(_normal(said) == _normal(answer) for answer in sample.answers)
    return Score({"accuracy": 1.0}, said) if right else None


def _normal(text: str) -> str:
    plain = _BLANKS.sub(" ", text.strip().strip("$").casefold()).rstrip(".").strip()
    try:
        return repr(float(plain.replace(",", "")))
    except ValueError:
        return plain
