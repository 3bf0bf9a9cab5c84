"""MMMU-Pro (Yue et al. 2025): MMMU's questions with up to ten options, or inside the picture.

Variants after the authors' script (`official`), lmms-eval, InternVL and VLMEvalKit (exact matching; `vlmevalkit-cot`
for answers that were asked to end with "Answer: X"). The default `muster` is our own reader and never guesses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from muster.core import JSON, Sample
from muster.metrics.averages import mean_score
from muster.metrics.letter_choice import right_letters
from muster.metrics.letters.mmmu import Choice, parse_choice, parse_pro_choice
from muster.metrics.letters.mmmu_pro_cot import infer_after_thought
from muster.metrics.letters.muster import read_choice
from muster.metrics.letters.options import lettered
from muster.metrics.letters.vlmevalkit import NO_OPTION, infer_letter
from muster.metrics.mmmu_subjects import over_subjects, subject_of, subjects_or_disciplines
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.variants import VariantMetric

Setting = Literal["standard_10", "standard_4", "vision"]
"""The benchmark's three sets of questions."""

_OFFERED: Mapping[Setting, tuple[str, ...]] = {
    "standard_10": ("muster", "official", "lmms-eval", "internvl", "vlmevalkit", "vlmevalkit-cot"),
    "standard_4": ("muster", "official"),
    "vision": ("muster", "official", "lmms-eval", "internvl", "vlmevalkit", "vlmevalkit-cot"),
}
_GUESSING = ("official", "lmms-eval", "internvl")

_Reader = Callable[[str, Mapping[str, str], str], Choice]


def _certain(read: Callable[[str, Mapping[str, str]], str | None]) -> _Reader:
    return lambda text, options, _key: Choice(read(text, options), False)


_READERS: dict[str, _Reader] = {
    "muster": _certain(read_choice),
    "official": lambda text, options, key: parse_pro_choice(text, options, key=key),
    "internvl": lambda text, options, key: parse_pro_choice(text, options, key=key),
    "lmms-eval": lambda text, options, key: parse_choice(text.strip(), options, internvl=False, key=key),
    "vlmevalkit": _certain(lambda text, options: infer_letter(text, options) or NO_OPTION),
    "vlmevalkit-cot": _certain(lambda text, options: infer_after_thought(text, options) or NO_OPTION),
}


@dataclass(frozen=True, kw_only=True)
class MmmuPro(VariantMetric):
    """`accuracy` over the questions; lmms-eval's `overall` is the same, rounded to five digits.

    `setting` says which of the three sets of questions this is. In `vision` lmms-eval parses nothing, because the
    question isn't in its data: the answer has to be the letter alone. `guessed` is the share of answers that were
    drawn, by sample id. A breakdown by `subject` or `discipline` goes by the metadata key `subject`, or by the id.
    """

    name: ClassVar[str] = "mmmu_pro"
    variants: ClassVar[tuple[str, ...]] = tuple(_READERS)

    variant: str = "muster"
    setting: Setting = "standard_10"

    @property
    def offered(self) -> tuple[str, ...]:
        """lmms-eval, InternVL and VLMEvalKit have no set with four options."""
        return _OFFERED[self.setting]

    @cached_property
    def info(self) -> MetricInfo:
        """Accuracy, lmms-eval's rounding of it, and the share of random guesses."""
        means = {"accuracy": "accuracy"}
        if self.variant == "lmms-eval":
            means["overall"] = "accuracy"
        if self.variant in _GUESSING:
            means["guessed"] = "guessed"
        primary = "overall" if self.variant == "lmms-eval" else "accuracy"
        return self._described(primary, dict.fromkeys(means, "0-1"), means)

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1, `guessed` 1 where the letter was drawn at random; `extracted` is the letter."""
        options = lettered(sample.choices)
        if self.variant == "lmms-eval" and self.setting == "vision":
            choice = Choice(prediction.strip(), False)
        else:
            choice = _READERS[self.variant](prediction, options, sample.id)
        right = right_letters(sample.answers, options) if self.variant == "muster" else sample.answers
        scores = {"accuracy": float(choice.letter is not None and choice.letter in right)}
        if self.variant in _GUESSING:
            scores["guessed"] = float(choice.guessed)
        return Score(scores, choice.letter)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`."""
        result = {name: mean_score(rows, score) for name, score in self.info.means.items()}
        if "overall" in result:
            result["overall"] = round(over_subjects(rows, _subject), 5)
        return result

    def categories(self, rows: Sequence[ScoredSample], key: str) -> Sequence[JSON] | None:
        """`subject` and `discipline`."""
        return subjects_or_disciplines(rows, key, _subject)


def _subject(sample: Sample) -> str:
    return str(sample.metadata.get("subject") or subject_of(sample))
