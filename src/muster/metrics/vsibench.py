"""VSI-Bench (Yang et al. 2025): letters, and numbers scored by their mean relative accuracy.

A number's score is the share of the thresholds 0.5, 0.55 … 0.95 that it reaches: its relative error is at most
one minus the threshold. Sources: the authors' code (`official`) and lmms-eval's task; the variant `muster` is our own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from muster.core import Sample
from muster.metrics.averages import mean_score, numpy_mean
from muster.metrics.letter_choice import OWN, right_letters
from muster.metrics.letters.options import lettered
from muster.metrics.number_words import first_number
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.variants import VariantMetric

_NUMERIC = ("object_abs_distance", "object_counting", "object_size_estimation", "room_size_estimation")
_DIRECTIONS = tuple(f"object_rel_direction_{level}" for level in ("easy", "medium", "hard"))
_DIRECTION = "object_rel_direction"
_TASKS = (
    "obj_appearance_order",
    "object_abs_distance",
    "object_counting",
    "object_rel_distance",
    "object_size_estimation",
    "room_size_estimation",
    "route_planning",
    _DIRECTION,
)
"""In the order in which the authors add them up."""
_ANY_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?")
_OFFICIAL, _LMMS_EVAL = "official", "lmms-eval"


def mean_relative_accuracy(said: float, right: float) -> float:
    """The share of the ten thresholds from 0.5 to 0.95 that `said` reaches, computed as the authors compute it."""
    import numpy as np

    with np.errstate(all="ignore"):
        error = np.float64(abs(said - right)) / np.float64(right)
        thresholds = np.linspace(0.5, 0.95, int((0.95 - 0.5) / 0.05 + 2))
        return float((error <= 1 - thresholds).mean())


@dataclass(frozen=True, kw_only=True)
class VsiBench(VariantMetric):
    """`overall`, the mean over the eight tasks, and each task: accuracy of choices, mean relative accuracy of numbers.

    `question_type` is the metadata key of the question's type. The three levels of relative direction are one task, of
    which each level is a third. The authors read the first word only; lmms-eval reads the first number anywhere.
    """

    name: ClassVar[str] = "vsibench"
    variants: ClassVar[tuple[str, ...]] = ("muster", _OFFICIAL, _LMMS_EVAL)

    variant: str = "muster"
    question_type: str = "question_type"

    @cached_property
    def info(self) -> MetricInfo:
        """Every score, 0-1."""
        return self._described(
            "overall", dict.fromkeys(("overall", "score", *_TASKS), "0-1"), {"score": "score"}
        )

    def score(self, sample: Sample, prediction: str) -> Score:
        """`score`: accuracy of a choice, mean relative accuracy of a number. A type that isn't known is a choice."""
        if self._type_of(sample) in _NUMERIC:
            number = self._number(prediction)
            right = _as_float(sample.answer)
            value = 0.0 if number is None or right is None else mean_relative_accuracy(number, right)
            return Score({"score": value}, None if number is None else f"{number:g}")
        if self.variant == "muster":
            options = lettered(sample.choices)
            letter = OWN.read(prediction, options)
            hit = letter is not None and letter in right_letters(sample.answers, options)
            return Score({"score": float(hit)}, letter)
        word = _first_word(prediction)
        return Score({"score": float(word.lower() == sample.answer.lower())}, word)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`; a task without questions is NaN and left out of `overall`."""
        by_type: dict[str, list[float]] = {}
        for row in rows:
            by_type.setdefault(self._type_of(row.sample), []).append(row.score.scores["score"])
        means = {name: numpy_mean(scores) for name, scores in by_type.items()}
        levels = [means[name] for name in _DIRECTIONS if name in means]
        if levels:
            means[_DIRECTION] = sum(levels) / len(levels)
        tasks = {name: means[name] for name in _TASKS if name in means}
        overall = sum(tasks.values()) / len(tasks) if tasks else float("nan")
        if self.variant == _LMMS_EVAL:
            overall, tasks = round(overall, 6), {name: round(value, 6) for name, value in tasks.items()}
        missing = dict.fromkeys(_TASKS, float("nan"))
        return {"overall": overall, "score": mean_score(rows, "score"), **missing, **tasks}

    def _number(self, prediction: str) -> float | None:
        if self.variant == _OFFICIAL:
            return _as_float(_first_word(prediction))
        if self.variant == _LMMS_EVAL:
            return first_number(prediction)
        return _only_number(prediction)

    def _type_of(self, sample: Sample) -> str:
        return str(sample.metadata.get(self.question_type))


def _first_word(text: str) -> str:
    return text.split(" ")[0].rstrip(".").strip()


def _as_float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _only_number(text: str) -> float | None:
    """The only number of an answer, with or without a unit; a word for one where there are no digits."""
    numbers = {found.replace(",", "") for found in _ANY_NUMBER.findall(text) if any(map(str.isdigit, found))}
    if numbers:
        return float(numbers.pop()) if len(numbers) == 1 else None
    return first_number(text)
