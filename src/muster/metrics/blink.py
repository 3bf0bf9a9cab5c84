"""BLINK (Fu et al. 2024): fourteen tasks, whose accuracies' unweighted mean is the benchmark's headline.

Sources: the authors' code (`official`), which asks a language model where it finds no letter, lmms-eval's task and
VLMEvalKit's `can_infer` (no judge); the variant `muster` is our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from muster.core import Sample
from muster.metrics.judge_prompts import judge_prompt, option_matching
from muster.metrics.letter_choice import OWN, Convention
from muster.metrics.letters import blink
from muster.metrics.letters.options import lettered
from muster.metrics.letters.vlmevalkit import infer_letter
from muster.metrics.macro_choice import MacroChoice
from muster.metrics.protocol import Inquiry, Score, UnscoredError

TASKS = (
    "Visual_Similarity", "Counting", "Relative_Depth", "Jigsaw", "Art_Style", "Functional_Correspondence",
    "Semantic_Correspondence", "Spatial_Relation", "Object_Localization", "Visual_Correspondence",
    "Multi-view_Reasoning", "Relative_Reflectance", "Forensic_Detection", "IQ_Test",
)  # fmt: skip
"""In the order in which the authors add them up."""

_OFFICIAL, _LMMS_EVAL = "official", "lmms-eval"
_PROMPT = "option_matching"


@dataclass(frozen=True, kw_only=True)
class Blink(MacroChoice):
    """BLINK's accuracy, and its `average` over the tasks, which `macro` (a metadata key) tells apart.

    In the variant `official` an answer is a letter alone, or has one in brackets; every other is a judge's to match,
    and what that says counts as it stands: "(C) Point C" is wrong, as in the published results. With
    `extraction: given`, and for samples whose `choices` aren't known, the predictions are taken for such final letters
    and only compared.
    """

    name: ClassVar[str] = "blink"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        _OFFICIAL: Convention(blink.official),
        _LMMS_EVAL: Convention(blink.lmms_eval),
        "vlmevalkit": Convention(infer_letter, needs_options=True),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)
    version: ClassVar[int] = 2
    headline: ClassVar[tuple[str, ...]] = (_OFFICIAL, _LMMS_EVAL)

    macro: str = "sub_task"
    extraction: Literal["rules", "given"] = "rules"

    @property
    def judge_prompt(self) -> str | None:
        """See `JudgedMetric`."""
        asks = self.variant == _OFFICIAL and self.extraction == "rules"
        return judge_prompt(_PROMPT).label if asks else None

    def score(self, sample: Sample, prediction: str) -> Score:
        """See `LetterChoice`. Raises `UnscoredError` where the authors would ask a language model."""
        if self.variant != _OFFICIAL:
            return super().score(sample, prediction)
        options = lettered(sample.choices)
        letter = _given(prediction) if self._is_final(sample) else blink.official(prediction, options)
        if letter is None:
            raise UnscoredError("a judge would have to match this answer with an option")
        return Score({"accuracy": float(letter in sample.answers)}, letter)

    def inquiry(self, sample: Sample, prediction: str) -> Inquiry | None:
        """The matching prompt, where no letter is marked."""
        if self.judge_prompt is None or self._is_final(sample):
            return None
        if blink.official(prediction, lettered(sample.choices)) is not None:
            return None
        return option_matching(sample, prediction)

    def score_verdict(self, sample: Sample, verdict: str) -> Score:
        """`accuracy` of the option that the judge named, if it said nothing else."""
        letter = _given(verdict.strip())
        return Score({"accuracy": float(letter in sample.answers)}, letter)

    def _added_first(self) -> Sequence[str]:
        return sorted(TASKS) if self.variant == _LMMS_EVAL else TASKS

    def _is_final(self, sample: Sample) -> bool:
        return self.extraction == "given" or not sample.choices


def _given(text: str) -> str:
    """`B` of `(B)`; every other text is no letter."""
    return text[1] if len(text) == 3 and text[0] == "(" and text[2] == ")" else text
