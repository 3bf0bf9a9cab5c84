"""Yes/no questions as POPE scores them (Li et al. 2023): accuracy, precision, recall, F1 and the share of yes.

Variants after lmms-eval, InternVL's `eval_pope.py` and VLMEvalKit's `POPE_rating`; the default `muster` reads
answers in sentences, counts an unreadable answer as wrong and as not yes, and the yes-ratio over the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from muster.core import Sample
from muster.metrics import verdicts
from muster.metrics.averages import mean, mean_score, ratio
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.terms import Terms, numbered, ratios
from muster.metrics.variants import VariantMetric
from muster.metrics.verdicts import Verdict, VerdictReader

if TYPE_CHECKING:
    from muster.metrics.terms import Array

_YES, _NO = 1.0, 0.0
_UNREADABLE = -1.0


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of what was said where yes was right and where no was."""

    true_yes: int
    false_yes: int
    missed_yes: int

    @property
    def precision(self) -> float:
        """Share of the yes answers that are right; 0 where there is none."""
        return ratio(self.true_yes, self.true_yes + self.false_yes)

    @property
    def recall(self) -> float:
        """Share of the yes questions that were answered yes; 0 where there is none."""
        return ratio(self.true_yes, self.true_yes + self.missed_yes)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where both are."""
        precision, recall = self.precision, self.recall
        return ratio(2 * (precision * recall), precision + recall)


class _Convention(NamedTuple):
    read: VerdictReader
    unreadable_is_missed: bool
    """Whether an unreadable answer to a yes question is a false negative, or counts nowhere."""
    yes_ratio_of_gold: bool
    extra: str | None = None
    """An aggregate of this toolkit alone."""


_CONVENTIONS: dict[str, _Convention] = {
    "muster": _Convention(verdicts.muster, True, False),
    "lmms-eval": _Convention(verdicts.lmms_eval_pope, False, True),
    "internvl": _Convention(verdicts.internvl_pope, True, False, "mean_category_f1"),
    "vlmevalkit": _Convention(verdicts.vlmevalkit, True, False, "overall"),
}


@dataclass(frozen=True, kw_only=True)
class YesNo(VariantMetric):
    """POPE's scores. `category` is the metadata key over whose values InternVL averages F1."""

    name: ClassVar[str] = "yes_no"
    variants: ClassVar[tuple[str, ...]] = tuple(_CONVENTIONS)
    variant: str = "muster"
    category: str = "category"

    @cached_property
    def info(self) -> MetricInfo:
        """The five scores, and the toolkit's own."""
        units = dict.fromkeys(("accuracy", "precision", "recall", "f1", "yes_ratio"), "0-1")
        if self._convention.extra:
            units[self._convention.extra] = "percent"
        return self._described("accuracy", units, {"accuracy": "accuracy"})

    def has_reference(self, sample: Sample) -> bool:
        """Whether the right answer is yes or no."""
        return bool(sample.answers) and verdicts.gold(sample.answer) is not None

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1, `said_yes` and `is_yes` 1 for yes, 0 for no, -1 for neither."""
        said, right = self._convention.read(prediction), verdicts.gold(sample.answer)
        scores = {
            "accuracy": float(right is not None and said == right),
            "said_yes": _as_number(said),
            "is_yes": _as_number(right),
        }
        return Score(scores, said)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Accuracy, precision, recall, F1 and yes-ratio, 0-1, over all rows."""
        confusion = self._confusion(rows)
        result = {
            "accuracy": mean_score(rows, "accuracy"),
            "precision": confusion.precision,
            "recall": confusion.recall,
            "f1": confusion.f1,
            "yes_ratio": self._yes_ratio(rows),
        }
        if self._convention.extra == "overall":
            result["overall"] = confusion.f1 * 100
        if self._convention.extra == "mean_category_f1":
            result["mean_category_f1"] = self._mean_category_f1(rows)
        return result

    def additive_terms(self, rows: Sequence[ScoredSample]) -> Terms:
        """Per row: 1, and whether it is a true, false or missed yes, and one that the yes-ratio counts, or is over."""
        import numpy as np

        said = np.array([row.score.scores["said_yes"] for row in rows])
        gold = np.array([row.score.scores["is_yes"] for row in rows])
        said_yes, gold_yes, every = said == _YES, gold == _YES, np.ones(len(rows))
        missed = np.isin(said, self._missed) & gold_yes
        of_gold = self._convention.yes_ratio_of_gold
        counted, over = (gold_yes, gold != _UNREADABLE) if of_gold else (said_yes, every)
        values = np.stack(
            [every, said_yes & gold_yes, said_yes & (gold == _NO), missed, counted, over], axis=1
        )
        by_category = self._convention.extra == "mean_category_f1"
        categories = (str(row.sample.metadata.get(self.category)) if by_category else "" for row in rows)
        return Terms(np.arange(len(rows)), values, numbered(categories, {}), self._of_sums)

    def _of_sums(self, sums: Array) -> dict[str, Array]:
        total = sums.sum(axis=1)
        precision, recall, f1 = _rates(total)
        result = {
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "yes_ratio": ratios(total[..., 4], total[..., 5]),
        }
        if self._convention.extra == "overall":
            result["overall"] = f1 * 100
        if self._convention.extra == "mean_category_f1":
            drawn = (sums[..., 0] > 0).sum(axis=1)
            result["mean_category_f1"] = _rates(sums)[2].sum(axis=1) / drawn * 100
        return result

    @property
    def _convention(self) -> _Convention:
        return _CONVENTIONS[self.variant]

    @property
    def _missed(self) -> tuple[float, ...]:
        return (_NO, _UNREADABLE) if self._convention.unreadable_is_missed else (_NO,)

    def _confusion(self, rows: Sequence[ScoredSample]) -> Confusion:
        missed = self._missed
        pairs = [(row.score.scores["said_yes"], row.score.scores["is_yes"]) for row in rows]
        return Confusion(
            true_yes=sum(said == _YES and right == _YES for said, right in pairs),
            false_yes=sum(said == _YES and right == _NO for said, right in pairs),
            missed_yes=sum(said in missed and right == _YES for said, right in pairs),
        )

    def _yes_ratio(self, rows: Sequence[ScoredSample]) -> float:
        if self._convention.yes_ratio_of_gold:
            known = [right for row in rows if (right := row.score.scores["is_yes"]) != _UNREADABLE]
            return mean(float(right == _YES) for right in known)
        return mean(float(row.score.scores["said_yes"] == _YES) for row in rows)

    def _mean_category_f1(self, rows: Sequence[ScoredSample]) -> float:
        categories: dict[str, list[ScoredSample]] = {}
        for row in rows:
            categories.setdefault(str(row.sample.metadata.get(self.category)), []).append(row)
        return mean(self._confusion(members).f1 for members in categories.values()) * 100


def _rates(sums: Array) -> tuple[Array, Array, Array]:
    """Precision, recall and F1, as `Confusion` has them."""
    true_yes, false_yes, missed_yes = sums[..., 1], sums[..., 2], sums[..., 3]
    precision = ratios(true_yes, true_yes + false_yes)
    recall = ratios(true_yes, true_yes + missed_yes)
    return precision, recall, ratios(2 * (precision * recall), precision + recall)


def _as_number(verdict: Verdict | None) -> float:
    return _UNREADABLE if verdict is None else _YES if verdict == "yes" else _NO
