"""Multiple choice in general: a letter is read out of the answer and compared with the right one."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

from muster.core import Sample
from muster.metrics.letters.muster import read_choice
from muster.metrics.letters.options import LetterReader, drawn_letter, lettered
from muster.metrics.mean_metric import MeanMetric
from muster.metrics.protocol import Score, UnscoredError


class Convention(NamedTuple):
    """How a toolkit scores an answer."""

    read: LetterReader
    ignore_case: bool = False
    """Whether `b` counts as B."""
    compares_text_beyond: str = ""
    """Where the right answer is none of these letters, the texts are compared (RealWorldQA in lmms-eval)."""
    needs_options: bool = False
    """Whether it looks for the sample's options in the answer, and can't where those only stand in the question."""
    guesses: bool = False
    """Whether it draws a letter where it finds none: here by sample id, the same on every machine."""
    accepts: Callable[[str, str, Mapping[str, str]], bool] | None = None
    """Where it doesn't compare what it read: whether it takes the answer for this letter, of these options."""


NO_OPTIONS = (
    "this toolkit looks for the options in the answer, and this data has them only in the question's text; score with "
    "--samples in which `choices` are given"
)

OWN = Convention(read_choice)


@dataclass(frozen=True, kw_only=True)
class LetterChoice(MeanMetric):
    """1 where the letter that was read is the right one, else 0; no letter is wrong, and nothing is guessed.

    Toolkits that draw a letter have `guessed` beside it, the share of answers for which that was done.
    A subclass has the `conventions` by variant, the default first. The variant `muster` also takes a right answer that
    is given as an option's text, and compares texts where the sample has neither options nor a letter.
    """

    version: ClassVar[int] = 2
    conventions: ClassVar[Mapping[str, Convention]]

    variant: str = "muster"

    @property
    def further_means(self) -> tuple[str, ...]:
        """`guessed`, where the toolkit draws letters."""
        return ("guessed",) if self.conventions[self.variant].guesses else ()

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is the letter.

        Raises `UnscoredError` where the toolkit needs the options, and the sample's data doesn't have them apart.
        """
        options = lettered(sample.choices)
        if self.variant == "muster":
            return _by_our_own_rules(sample, prediction, options)
        convention = self.conventions[self.variant]
        if convention.needs_options and not options:
            raise UnscoredError(NO_OPTIONS)
        letters = convention.compares_text_beyond
        if letters and sample.answer not in tuple(letters):
            normal = prediction.strip().lower().strip().rstrip(".")
            return Score({"accuracy": float(normal == sample.answer.strip().lower())}, normal)
        letter = convention.read(prediction, options)
        guessed = convention.guesses and letter is None and bool(options)
        if guessed:
            letter = drawn_letter(sample.id, options)
        if convention.accepts is not None:
            hit = any(convention.accepts(prediction, answer, options) for answer in sample.answers)
        elif convention.ignore_case:
            hit = letter is not None and letter.lower() in [answer.lower() for answer in sample.answers]
        else:
            hit = letter is not None and letter in sample.answers
        scores = {"accuracy": float(hit)}
        return Score(scores | {"guessed": float(guessed)} if convention.guesses else scores, letter)


def right_letters(answers: Sequence[str], options: Mapping[str, str]) -> set[str]:
    """The right letters, of which some may be given as an option's text."""
    right: set[str] = set()
    for answer in answers:
        plain = answer.strip()
        if plain.upper() in options or (not options and _is_letter(plain)):
            right.add(plain.upper())
        else:
            right |= {letter for letter, text in options.items() if text.strip() == plain}
    return right


def _by_our_own_rules(sample: Sample, prediction: str, options: Mapping[str, str]) -> Score:
    if not options and sample.answers and not any(_is_letter(answer.strip()) for answer in sample.answers):
        normal = _plain(prediction)
        return Score({"accuracy": float(normal in map(_plain, sample.answers))}, normal)
    letter = read_choice(prediction, options)
    return _score(letter is not None and letter in right_letters(sample.answers, options), letter)


@lru_cache(maxsize=64)
def _score(hit: bool, letter: str | None) -> Score:
    """One for all answers that are worth the same."""
    return Score({"accuracy": float(hit)}, letter)


def _is_letter(text: str) -> bool:
    return len(text) == 1 and text.upper() in string.ascii_uppercase


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")
