"""Multiple choice averaged over categories: MMStar (Chen et al. 2024) and BLINK's average over its tasks.

Sources for MMStar: the authors' evaluation (`official`), lmms-eval's task and VLMEvalKit's `can_infer` (no judge); the
variant `muster` is our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from muster.metrics.letter_choice import OWN, Convention, LetterChoice
from muster.metrics.letters.lmms_eval import extract_letter
from muster.metrics.letters.vlmevalkit import infer_letter
from muster.metrics.macro_mean import MacroMean


@dataclass(frozen=True, kw_only=True)
class MacroChoice(MacroMean, LetterChoice):
    """Multiple choice, and its average over categories."""


def _mmstar_official(text: str, _options: Mapping[str, str]) -> str:
    """The character where the letter stands in `B`, `(B`, `option B` and `the answer is B`; the case doesn't matter."""
    plain = text.lower().strip().replace("\n", " ")
    for introduction in ("the answer is ", "option ", "("):
        if plain.startswith(introduction):
            return plain[len(introduction) :][:1].upper()
    return plain[:1].upper()


@dataclass(frozen=True, kw_only=True)
class MmStar(MacroChoice):
    """MMStar. lmms-eval's score is `average`, over the second-level categories; the authors' and VLMEvalKit's is the
    mean over the questions. The score of a category is that of a breakdown by `category`.
    """

    name: ClassVar[str] = "mmstar"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "official": Convention(_mmstar_official),
        "lmms-eval": Convention(extract_letter),
        "vlmevalkit": Convention(infer_letter, needs_options=True),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)
    headline: ClassVar[tuple[str, ...]] = ("lmms-eval",)

    macro: str = "l2_category"
