"""Multiple choice: the letter read out of the answer against the right one.

Sources: MMStar, RealWorldQA, Video-MME and MMBench as scored by lmms-eval (`extract_mcq_answer`), VLMEvalKit
(`can_infer`, no judge) and InternVL (`post_process`); the variant `muster` is our own and the default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from muster.core import Sample
from muster.metrics.averages import mean_score
from muster.metrics.letters.internvl import post_process
from muster.metrics.letters.lmms_eval import LETTERS, extract_letter
from muster.metrics.letters.muster import read_choice
from muster.metrics.letters.options import LetterReader, lettered
from muster.metrics.letters.vlmevalkit import infer_letter
from muster.metrics.protocol import MetricInfo, Score, ScoredSample

_READERS: dict[str, LetterReader] = {
    "muster": read_choice,
    "lmms-eval": extract_letter,
    "vlmevalkit": infer_letter,
    "internvl": post_process,
}


class MultipleChoice:
    """1 where the letter that was read is the right one, else 0; no letter is wrong, never a random guess.

    The variant `lmms-eval` knows the letters A to D; an answer that is none of them is compared as text, as in
    RealWorldQA. The others take up to 26 choices.
    """

    variants: ClassVar[tuple[str, ...]] = tuple(_READERS)

    def __init__(self, variant: str = "muster") -> None:
        self._variant = variant
        self._read = _READERS[variant]
        self.info = MetricInfo(
            name="multiple_choice",
            variant=variant,
            version=1,
            primary="accuracy",
            units={"accuracy": "0-1"},
            means={"accuracy": "accuracy"},
        )

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is the letter."""
        if self._variant == "lmms-eval" and sample.answer not in LETTERS:
            return _open_question(sample, prediction)
        options = lettered(sample.choices)
        letter = self._read(prediction, options)
        return Score(
            {"accuracy": float(letter is not None and letter in self._right(sample, options))}, letter
        )

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """The mean accuracy, 0-1."""
        return {"accuracy": mean_score(rows, "accuracy")}

    def _right(self, sample: Sample, options: Mapping[str, str]) -> set[str]:
        """The right letters; our own variant also takes a sample's answer given as an option's text."""
        if self._variant != "muster":
            return set(sample.answers)
        right: set[str] = set()
        for answer in sample.answers:
            plain = answer.strip()
            if plain.upper() in options or (not options and len(plain) == 1):
                right.add(plain.upper())
            else:
                right |= {letter for letter, text in options.items() if text.strip() == plain}
        return right


def _open_question(sample: Sample, prediction: str) -> Score:
    """lmms-eval's RealWorldQA rule for answers that are not a letter."""
    normal = prediction.strip().lower().strip().rstrip(".")
    return Score({"accuracy": float(normal == sample.answer.strip().lower())}, normal)
