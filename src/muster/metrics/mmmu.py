"""MMMU (Yue et al. 2024): multiple choice and open questions of 30 subjects.

Variants after the benchmark's own scorer (`official`, which `internvl` copies), lmms-eval and VLMEvalKit (exact
matching). Where the first three guess at random, the guess is drawn by sample id, so that it depends neither on the
order of the questions nor on who answered them; `guessed` says how many there are. The default `muster` never guesses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from muster.core import JSON, Sample
from muster.metrics.averages import mean_score
from muster.metrics.letter_choice import right_letters
from muster.metrics.letters.internvl import post_process
from muster.metrics.letters.mmmu import Choice, parse_choice
from muster.metrics.letters.muster import read_choice
from muster.metrics.letters.options import lettered
from muster.metrics.letters.vlmevalkit import NO_OPTION, infer_letter
from muster.metrics.listed_answers import listed_answers
from muster.metrics.mmmu_subjects import over_subjects, subject_of, subjects_or_disciplines
from muster.metrics.open_answers import is_right, parse_open
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.variants import VariantMetric

_DIGITS = {"lmms-eval": 5, "official": 3, "internvl": 3}
"""To how many digits the toolkits round their overall accuracy."""
_OPEN = "open"


@dataclass(frozen=True, kw_only=True)
class Mmmu(VariantMetric):
    """MMMU's accuracy. Questions are open where the metadata key `question_type` says so, or there are no choices.

    `accuracy` is over the questions; `overall` (the authors, lmms-eval, InternVL) weighs the subjects' accuracies by
    their size and is rounded as the toolkit does. Breakdowns by `subject` and `discipline` need no metadata: both stand
    in the id, `validation_Art_Theory_1`, which is the metadata key `id` or the sample's id. With `post_process`
    InternVL's choices are read as its own scripts do before they save them, and not by the benchmark's parser.
    """

    name: ClassVar[str] = "mmmu"
    version: ClassVar[int] = 2
    variants: ClassVar[tuple[str, ...]] = ("muster", "official", "lmms-eval", "internvl", "vlmevalkit")

    variant: str = "muster"
    question_type: str = "question_type"
    post_process: bool = False

    @cached_property
    def info(self) -> MetricInfo:
        """Accuracy, the toolkit's rounding of it, and the share of random guesses."""
        means = {"accuracy": "accuracy"}
        units = {"accuracy": "0-1"}
        if self.variant in _DIGITS:
            units |= {"overall": "0-1", "guessed": "0-1"}
            means |= {"overall": "accuracy", "guessed": "guessed"}
        return self._described("overall" if self.variant in _DIGITS else "accuracy", units, means)

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1, `guessed` 1 where the choice was drawn at random; `extracted` is what was read."""
        if self.variant == "lmms-eval":
            prediction = prediction.strip()
        if not sample.choices or sample.metadata.get(self.question_type) == _OPEN:
            return self._open(sample, prediction)
        letter, guessed = self._choose(sample, prediction)
        right = set(sample.answers)
        if self.variant == "muster":
            right = right_letters(sample.answers, lettered(sample.choices))
        return self._score(letter is not None and letter in right, letter, guessed=guessed)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`."""
        result = {"accuracy": mean_score(rows, "accuracy")}
        if self.variant in _DIGITS:
            result["overall"] = round(over_subjects(rows, subject_of), _DIGITS[self.variant])
            result["guessed"] = mean_score(rows, "guessed")
        return result

    def categories(self, rows: Sequence[ScoredSample], key: str) -> Sequence[JSON] | None:
        """`subject` and `discipline`, as the ids have them."""
        return subjects_or_disciplines(rows, key)

    def _choose(self, sample: Sample, prediction: str) -> Choice:
        options = lettered(sample.choices)
        if self.variant == "muster":
            return Choice(read_choice(prediction, options), False)
        if self.variant == "vlmevalkit":
            return Choice(infer_letter(prediction, options) or NO_OPTION, False)
        if self.variant == "internvl" and self.post_process:
            return Choice(post_process(prediction, options), False)
        return parse_choice(prediction, options, internvl=self.variant != "lmms-eval", key=sample.id)

    def _open(self, sample: Sample, prediction: str) -> Score:
        as_given = sample.answer if len(sample.answers) == 1 else str(list(sample.answers))
        if self.variant == "vlmevalkit":
            letter = infer_letter(prediction, {"A": as_given, "B": "Other Answers"}) or NO_OPTION
            return self._score(letter == "A" and bool(sample.answers), letter)
        answers = listed_answers(sample.answer) if len(sample.answers) == 1 else list(sample.answers)
        if (
            self.variant == "lmms-eval" and answers
        ):  # sic: a list of answers is one text there, as the data has it
            answers = [as_given]
        parsed = parse_open(prediction)
        return self._score(is_right(parsed, answers), "; ".join(map(str, parsed)))

    def _score(self, hit: bool, extracted: str | None, *, guessed: bool = False) -> Score:
        scores = {"accuracy": float(hit)}
        return Score(scores | {"guessed": float(guessed)} if self.variant in _DIGITS else scores, extracted)
