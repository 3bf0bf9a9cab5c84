"""Scores over several answers to the same question: avg@k, pass@k and pass^k.

pass@k is the chance that at least one of k answers is right, pass^k that all are, both estimated without bias from n
answers of which c are right (Chen et al. 2021, arXiv:2107.03374; Yao et al. 2024, arXiv:2406.12045): 1 - C(n-c, k) /
C(n, k), and C(c, k) / C(n, k).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import comb
from typing import ClassVar

from muster.core import ConfigurationError, Sample
from muster.metrics.averages import mean, mean_score
from muster.metrics.protocol import Inquiry, Metric, MetricInfo, Score, ScoredSample, has_reference, is_judged
from muster.metrics.variants import VariantMetric

_COPIES = 1_000_000
"""Repeats of a resample's copies are numbered beyond this (`results.statistics`), so that copies stay apart."""
RIGHT = 1.0


def pass_at(k: int, right: int, answers: int) -> float:
    """The chance that one of `k` answers is right. Raises `ValueError` for more than there are."""
    _check(k, answers)
    return 1.0 - comb(answers - right, k) / comb(answers, k)


def pass_hat(k: int, right: int, answers: int) -> float:
    """The chance that all of `k` answers are right. Raises `ValueError` for more than there are."""
    _check(k, answers)
    return comb(right, k) / comb(answers, k)


def _check(k: int, answers: int) -> None:
    if not 1 <= k <= answers:
        raise ValueError(f"k = {k} of {answers} answers")


def by_question(rows: Sequence[ScoredSample], score: str) -> list[list[float]]:
    """The scores of each question's repeats."""
    questions: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        questions.setdefault((row.sample.id, row.repeat // _COPIES), []).append(row.score.scores[score])
    return list(questions.values())


def passes(rows: Sequence[ScoredSample], score: str, k: int | None = None) -> dict[str, float]:
    """`pass@k` and `pass^k` over the questions; k is the number of repeats where it isn't given.

    A question with fewer answers than k counts with all that it has.
    """
    questions = by_question(rows, score)
    one, every = [], []
    for scores in questions:
        right, taken = sum(value >= RIGHT for value in scores), min(k or len(scores), len(scores))
        one.append(pass_at(taken, right, len(scores)))
        every.append(pass_hat(taken, right, len(scores)))
    return {"pass@k": mean(one), "pass^k": mean(every)}


@dataclass(frozen=True, kw_only=True)
class Repeats(VariantMetric):
    """Any metric over `--repeats` answers: `avg@k`, its mean over all answers, `pass@k` and `pass^k`.

    `of` is the metric of an answer and `of_variant` its variant, one whose headline is a mean from 0 to 1 of scores of
    which 1 is right. `k` is the number of repeats, if it isn't given.
    """

    name: ClassVar[str] = "repeats"
    reads_answers: ClassVar[bool] = False
    variants: ClassVar[tuple[str, ...]] = ("muster",)

    variant: str = "muster"
    of: str = "exact_match"
    of_variant: str | None = None
    k: int | None = None

    @cached_property
    def info(self) -> MetricInfo:
        """All three, 0-1."""
        units = dict.fromkeys(("avg@k", "pass@k", "pass^k"), "0-1")
        return self._described("avg@k", units, {"avg@k": "accuracy"})

    @cached_property
    def _single(self) -> Metric:
        from muster.metrics.registry import build_metric

        metric = build_metric(self.of, variant=self.of_variant)
        info = metric.info
        if info.primary not in info.means or info.units[info.primary] != "0-1":
            raise ConfigurationError(
                f"metric 'repeats', of: {self.of}: its headline, {info.primary}, is no mean from 0 to 1 of answers"
            )
        return metric

    def __post_init__(self) -> None:
        """Raises `ConfigurationError` where there is no such metric, it doesn't fit, or k is below 1."""
        if self.k is not None and self.k < 1:
            raise ConfigurationError(f"metric 'repeats', k: {self.k}: at least one answer")
        _ = self._single

    def has_reference(self, sample: Sample) -> bool:
        """As the metric of an answer has it."""
        return has_reference(self._single, sample)

    @property
    def judge_prompt(self) -> str | None:
        """See `JudgedMetric`: that of the metric of an answer."""
        return self._single.judge_prompt if is_judged(self._single) else None

    def inquiry(self, sample: Sample, prediction: str) -> Inquiry | None:
        """As the metric of an answer asks."""
        return self._single.inquiry(sample, prediction) if is_judged(self._single) else None

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` of one answer, and what its metric extracted. Raises what that raises."""
        return self._as_accuracy(self._single.score(sample, prediction))

    def score_verdict(self, sample: Sample, verdict: str) -> Score:
        """The same by a judge's verdict."""
        assert is_judged(self._single)
        return self._as_accuracy(self._single.score_verdict(sample, verdict))

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`."""
        return {"avg@k": mean_score(rows, "accuracy"), **passes(rows, "accuracy", self.k)}

    def _as_accuracy(self, score: Score) -> Score:
        info = self._single.info
        return Score({"accuracy": score.scores[info.means[info.primary]]}, score.extracted)
