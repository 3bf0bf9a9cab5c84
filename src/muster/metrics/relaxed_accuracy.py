"""Relaxed accuracy (Masry et al. 2022, ChartQA): numbers within 5 %, everything else equal ignoring case.

Variants after lmms-eval, VLMEvalKit and InternVL, which divides by the answer instead of the right value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, NamedTuple

from muster.core import Sample
from muster.metrics.averages import mean, numpy_mean
from muster.metrics.listed_answers import listed_answers
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.split_means import Part, means_of_parts, terms_of_parts
from muster.metrics.terms import Terms
from muster.metrics.variants import VariantMetric

_TOLERANCE = 0.05


class _Splits(NamedTuple):
    """What a toolkit calls the scores of ChartQA's splits."""

    overall: str | None
    human: str
    augmented: str
    unit: Literal["0-1", "percent"] = "0-1"


_SPLITS = {
    "lmms-eval": _Splits("relaxed_overall", "relaxed_human_split", "relaxed_augmented_split"),
    "vlmevalkit": _Splits("overall", "test_human", "test_augmented", "percent"),
    "internvl": _Splits(None, "human", "augmented"),
}
_HUMAN = "human_test"


@dataclass(frozen=True, kw_only=True)
class RelaxedAccuracy(VariantMetric):
    """1 where the answer is close enough to any accepted answer, else 0.

    `split` is the metadata key that says `human_test` for ChartQA's questions by people and anything else for
    those made by machine; with it the splits have scores of their own, named as in the toolkit.
    """

    name: ClassVar[str] = "relaxed_accuracy"
    variants: ClassVar[tuple[str, ...]] = ("lmms-eval", "vlmevalkit", "internvl")

    variant: str = "lmms-eval"
    split: str | None = None

    @cached_property
    def info(self) -> MetricInfo:
        """`accuracy`, and with `split` also the toolkit's scores."""
        splits = _SPLITS[self.variant]
        units: dict[str, str] = {"accuracy": "0-1"}
        if splits.overall and (self.split or splits.unit == "percent"):
            units[splits.overall] = splits.unit
        means = dict.fromkeys(units, "accuracy")
        if self.split:
            units |= {splits.human: splits.unit, splits.augmented: splits.unit}
        return self._described("accuracy", units, means)

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is the stripped answer."""
        said = prediction.strip()
        answers = list(sample.answers)
        if self.variant == "vlmevalkit" and len(answers) == 1:
            answers = listed_answers(answers[0])
        if self.variant == "internvl":
            hit = any(_close(target=said, value=answer) for answer in answers)  # sic: the roles are swapped
        else:
            hit = any(_close(target=answer, value=said) for answer in answers)
        return Score({"accuracy": float(hit)}, said)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`; NaN for a split without rows."""
        average = numpy_mean if self.variant == "vlmevalkit" else mean
        value = average([row.score.scores["accuracy"] for row in rows])
        result = dict.fromkeys(self.info.means, value)
        if self.split:
            result |= means_of_parts(rows, "accuracy", self._parts(), average)
        return {
            name: result[name] * (100 if unit == "percent" else 1) for name, unit in self.info.units.items()
        }

    def additive_terms(self, rows: Sequence[ScoredSample]) -> Terms:
        """The splits' scores as sums."""
        scale = 100.0 if _SPLITS[self.variant].unit == "percent" else 1.0
        return terms_of_parts(rows, "accuracy", self._parts(), scale)

    def _parts(self) -> dict[str, Part]:
        splits, key = _SPLITS[self.variant], self.split or ""
        return {
            splits.human: lambda row: row.sample.metadata.get(key) == _HUMAN,
            splits.augmented: lambda row: row.sample.metadata.get(key) != _HUMAN,
        }


def _close(*, target: str, value: str) -> bool:
    aim, number = _number(target), _number(value)
    if number is None or aim is None or aim == 0:
        return value.lower() == target.lower()
    return abs(number - aim) / abs(aim) <= _TOLERANCE


def _number(text: str) -> float | None:
    """What Python's `float` makes of it, percent as a fraction; None where it makes nothing."""
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
