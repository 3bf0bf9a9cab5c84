"""MedXpertQA MM (Zuo et al. 2025): exam questions with pictures, five options.

Sources: the authors' evaluation (`official`), VLMEvalKit's class (`can_infer`, no judge); the variant `muster` is our
own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from muster.metrics.letter_choice import OWN, Convention, LetterChoice
from muster.metrics.letters.vlmevalkit import infer_letter

_UNWANTED = ("I understand", "A through J", "A through E", "A through D")


def _official(text: str, options: Mapping[str, str]) -> str | None:
    """The first option's letter that is a word, after the sentence that the prompt ends in or " answer is "."""
    letters = "".join(options) or "ABCDE"
    for cue in (f"Among A through {letters[-1]}, the answer is", " answer is "):
        _, found, rest = text.partition(cue)
        if found:
            text = rest.partition(cue)[0].strip()
            break
    for phrase in _UNWANTED:
        text = text.replace(phrase, "")
    said = re.search(rf"\b([{letters}])\b", text)
    return said.group(1) if said else None


@dataclass(frozen=True, kw_only=True)
class MedXpertQa(LetterChoice):
    """MedXpertQA's accuracy. Reasoning and understanding apart: a breakdown by `question_type`.

    The authors' rule takes the "A" of "A patient" for a choice.
    """

    name: ClassVar[str] = "medxpertqa"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "official": Convention(_official),
        "vlmevalkit": Convention(infer_letter, needs_options=True),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)
