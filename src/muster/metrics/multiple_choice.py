"""Multiple choice for any benchmark: the letter read out of the answer against the right one.

Sources: the readers that lmms-eval (`extract_mcq_answer`), VLMEvalKit (`can_infer`, no judge) and InternVL
(`post_process`) use for most benchmarks; the variant `muster` is our own and the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from muster.metrics.letter_choice import OWN, Convention, LetterChoice
from muster.metrics.letters.internvl import post_process
from muster.metrics.letters.lmms_eval import LETTERS, extract_letter
from muster.metrics.letters.vlmevalkit import infer_letter


@dataclass(frozen=True, kw_only=True)
class MultipleChoice(LetterChoice):
    """Up to 26 choices. lmms-eval's reader knows the letters A to D and compares other right answers as text."""

    name: ClassVar[str] = "multiple_choice"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "lmms-eval": Convention(extract_letter, compares_text_beyond=LETTERS),
        "vlmevalkit": Convention(infer_letter, needs_options=True),
        "internvl": Convention(post_process),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)
