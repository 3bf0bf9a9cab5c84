"""MMMU (Yue et al. 2024): multiple choice and open questions of 30 subjects.

Variants after the benchmark's own scorer as InternVL has it, lmms-eval and VLMEvalKit (exact matching). Where the
first two guess at random, the guess is drawn by sample id, so that it depends neither on the order of the questions
nor on who answered them; `guessed` says how many there are. The default `muster` never guesses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from muster.core import JSON, Sample
from muster.metrics.averages import mean, mean_score
from muster.metrics.letter_choice import right_letters
from muster.metrics.letters.internvl import post_process
from muster.metrics.letters.mmmu import Choice, parse_choice
from muster.metrics.letters.muster import read_choice
from muster.metrics.letters.options import lettered
from muster.metrics.letters.vlmevalkit import NO_OPTION, infer_letter
from muster.metrics.listed_answers import listed_answers
from muster.metrics.open_answers import is_right, normal_forms, parse_open
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.variants import VariantMetric

DISCIPLINES = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        "Basic_Medical_Science", "Clinical_Medicine", "Diagnostics_and_Laboratory_Medicine", "Pharmacy",
        "Public_Health",
    ),
    "Humanities and Social Science": ("History", "Literature", "Sociology", "Psychology"),
    "Tech and Engineering": (
        "Agriculture", "Architecture_and_Engineering", "Computer_Science", "Electronics", "Energy_and_Power",
        "Materials", "Mechanical_Engineering",
    ),
}  # fmt: skip
_DISCIPLINE_OF = {subject: discipline for discipline, subjects in DISCIPLINES.items() for subject in subjects}
_DIGITS = {"lmms-eval": 5, "internvl": 3}
"""To how many digits the toolkits round their overall accuracy."""
_OPEN = "open"


@dataclass(frozen=True, kw_only=True)
class Mmmu(VariantMetric):
    """MMMU's accuracy. Questions are open where the metadata key `question_type` says so, or there are no choices.

    `accuracy` is over the questions; `overall` (lmms-eval, InternVL) weighs the subjects' accuracies by their size and
    is rounded as the toolkit does. Breakdowns by `subject` and `discipline` need no metadata: both stand in the id,
    `validation_Art_Theory_1`, which is the metadata key `id` or the sample's id. With `post_process` InternVL's choices
    are read as its own scripts do before they save them, and not by the benchmark's parser.
    """

    name: ClassVar[str] = "mmmu"
    variants: ClassVar[tuple[str, ...]] = ("muster", "lmms-eval", "internvl", "vlmevalkit")

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
            result["overall"] = round(_over_subjects(rows), _DIGITS[self.variant])
            result["guessed"] = mean_score(rows, "guessed")
        return result

    def categories(self, rows: Sequence[ScoredSample], key: str) -> Sequence[JSON] | None:
        """`subject` and `discipline`, as the ids have them."""
        if key == "subject":
            return [subject_of(row.sample) for row in rows]
        if key == "discipline":
            return [_DISCIPLINE_OF.get(subject_of(row.sample)) for row in rows]
        return None

    def _choose(self, sample: Sample, prediction: str) -> Choice:
        options = lettered(sample.choices)
        if self.variant == "muster":
            return Choice(read_choice(prediction, options), False)
        if self.variant == "vlmevalkit":
            return Choice(infer_letter(prediction, options) or NO_OPTION, False)
        if self.variant == "internvl" and self.post_process:
            return Choice(post_process(prediction, options), False)
        return parse_choice(prediction, options, internvl=self.variant == "internvl", key=sample.id)

    def _open(self, sample: Sample, prediction: str) -> Score:
        answers = listed_answers(sample.answer) if len(sample.answers) == 1 else list(sample.answers)
        if self.variant == "vlmevalkit":
            text = sample.answer if len(sample.answers) == 1 else str(answers)
            letter = infer_letter(prediction, {"A": text, "B": "Other Answers"}) or NO_OPTION
            return self._score(letter == "A" and bool(answers), letter)
        parsed = parse_open(prediction)
        shown = "; ".join(map(str, parsed))
        if (
            self.variant == "lmms-eval"
        ):  # sic: it keeps one of the forms and looks for the answer in its characters
            empty = any(form == "" for answer in answers for form in normal_forms(answer))
            return self._score(empty and parsed != [""], shown)
        return self._score(is_right(parsed, answers), shown)

    def _score(self, hit: bool, extracted: str | None, *, guessed: bool = False) -> Score:
        scores = {"accuracy": float(hit)}
        return Score(scores | {"guessed": float(guessed)} if self.variant in _DIGITS else scores, extracted)


def subject_of(sample: Sample) -> str:
    """`Art_Theory` of `validation_Art_Theory_1`."""
    return "_".join(str(sample.metadata.get("id", sample.id)).split("_")[1:-1])


def _over_subjects(rows: Sequence[ScoredSample]) -> float:
    subjects: dict[str, list[float]] = {}
    for row in rows:
        subjects.setdefault(subject_of(row.sample), []).append(row.score.scores["accuracy"])
    return sum(mean(scores) * len(scores) for scores in subjects.values()) / len(rows)
