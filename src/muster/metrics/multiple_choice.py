"""Multiple choice for any benchmark: the letter read out of the answer against the right one.

Sources: the readers that lmms-eval (`extract_mcq_answer`), VLMEvalKit (`can_infer`, no judge) and InternVL
(`post_process`) use for most benchmarks; the variant `muster` is our own and the default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import ClassVar

from muster.core import Sample
from muster.metrics.letter_choice import OWN, Convention, LetterChoice, right_letters
from muster.metrics.letters.internvl import post_process
from muster.metrics.letters.lmms_eval import LETTERS, extract_letter
from muster.metrics.letters.options import lettered
from muster.metrics.letters.several import letters_of_list, read_choices
from muster.metrics.letters.vlmevalkit import infer_letter
from muster.metrics.protocol import Score, UnscoredError


@dataclass(frozen=True, kw_only=True)
class MultipleChoice(LetterChoice):
    """Up to 26 choices. lmms-eval's reader knows the letters A to D and compares other right answers as text.

    `all_of`: a sample's answers are right together, and not each of them by itself; they may also be written as "AC" or
    "A, C". Then `accuracy` is 1 where exactly these were chosen, and `partial` is the share that chosen and right
    letters have in common of all that are one or the other. No toolkit's variant does that: it leaves them unscored.
    """

    name: ClassVar[str] = "multiple_choice"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "lmms-eval": Convention(extract_letter, compares_text_beyond=LETTERS),
        "vlmevalkit": Convention(infer_letter, needs_options=True),
        "internvl": Convention(post_process),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)
    all_of: bool = False

    @property
    def further_means(self) -> tuple[str, ...]:
        """`partial`, where several letters are right together."""
        return (*super().further_means, *(("partial",) if self.all_of else ()))

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1, with `all_of` also `partial` from 0 to 1; `extracted` are the letters.

        Raises `UnscoredError` where the toolkit can't score that.
        """
        if not self.all_of:
            return super().score(sample, prediction)
        if self.variant != "muster":
            raise UnscoredError(
                "this toolkit's reader takes one letter, and here several are right together (all_of)"
            )
        options = lettered(sample.choices)
        right = _right_together(sample.answers, options)
        said = read_choices(prediction, options)
        common, either = len(said & right), len(said | right)
        scores = {
            "accuracy": float(said == right and bool(right)),
            "partial": common / either if either else 0.0,
        }
        return Score(scores, ", ".join(sorted(said)) or None)


def _right_together(answers: Sequence[str], options: Mapping[str, str]) -> set[str]:
    """The letters of all `answers`, each of which is a letter, a list of letters, or an option's text."""
    right: set[str] = set()
    for answer in answers:
        listed = letters_of_list(answer.upper(), "".join(options) or ascii_uppercase)
        right |= right_letters([answer], options) or listed
    return right
