"""HallusionBench (Guan et al. 2024): accuracy per question (aAcc), per figure (fAcc) and per question pair (qAcc).

Variants after lmms-eval (its `intern` path, and verdicts of a judge) and VLMEvalKit; the default `muster` reads answers
in sentences and leaves the figures that aren't shown out of fAcc, as the benchmark's authors do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal, Self

from muster.core import ConfigurationError, Sample
from muster.metrics import verdicts
from muster.metrics.averages import mean, mean_score
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.variants import VariantMetric

_GOLD: dict[str, verdicts.Verdict] = {"0": "no", "1": "yes", "yes": "yes", "no": "no"}
_WITHOUT_FIGURE = ("VS", "0")
"""Category and figure of the questions that are asked without their figure."""

_Part = Literal["figure_id", "question_id"]


@dataclass(frozen=True, kw_only=True)
class HallusionBench(VariantMetric):
    """HallusionBench's scores, 0-1; with `_percent` as VLMEvalKit and lmms-eval's judge path print them.

    Metadata keys: `category` (`VD`, `VS`), `subcategory` or `l2-category`, `set_id`, `figure_id`, `question_id`. The
    right answer is `1` or `yes`, else `0` or `no`. `judged` is the metadata key of a judge's verdict about the answer
    (0 wrong, 1 right, 2 can't tell), for the variant `lmms-eval` only: it then scores the verdict and not the text.
    """

    name: ClassVar[str] = "hallusionbench"
    variants: ClassVar[tuple[str, ...]] = ("muster", "lmms-eval", "vlmevalkit")

    variant: str = "muster"
    judged: str | None = None

    def __post_init__(self) -> None:
        if self.judged is not None and self.variant != "lmms-eval":
            raise ConfigurationError(
                f"hallusionbench: only lmms-eval scores verdicts of a judge (judged: {self.judged}); "
                f"remove `judged`, or choose the variant lmms-eval."
            )

    def in_variant(self, variant: str) -> Self:
        """Another variant; a judge's verdicts mean nothing to it."""
        return replace(self, variant=variant, judged=self.judged if variant == "lmms-eval" else None)

    @cached_property
    def info(self) -> MetricInfo:
        """The three accuracies, and the percentages that are printed."""
        units = dict.fromkeys(("aAcc", "fAcc", "qAcc"), "0-1")
        means = {"aAcc": "accuracy"}
        if self._prints_percent:
            units |= dict.fromkeys(("aAcc_percent", "fAcc_percent", "qAcc_percent"), "percent")
            means["aAcc_percent"] = "accuracy"
        return self._described("aAcc", units, means)

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is yes, no or None, or the judge's verdict."""
        if self.judged is not None:
            verdict = str(sample.metadata.get(self.judged, "")).strip()
            return Score(
                {"accuracy": float(verdict == "1" or (verdict == "2" and _lacks_figure(sample)))}, verdict
            )
        said = self._read(prediction)
        right = _GOLD.get(sample.answer.strip().lower())
        return Score({"accuracy": float(right is not None and said == right)}, said)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`."""
        result = {
            "aAcc": mean_score(rows, "accuracy"),
            "fAcc": self._share_of_groups(rows, "figure_id"),
            "qAcc": self._share_of_groups(rows, "question_id"),
        }
        if not self._prints_percent:
            return result
        percent = {f"{name}_percent": 100 * value for name, value in result.items()}
        if self.judged is not None:
            percent = {name: round(value, 4) for name, value in percent.items()}
        return result | percent

    @property
    def _prints_percent(self) -> bool:
        return self.variant == "vlmevalkit" or self.judged is not None

    def _read(self, text: str) -> verdicts.Verdict | None:
        if self.variant == "lmms-eval":  # sic: "not yes" is yes, and everything else is no
            return "yes" if "yes" in text.lower() else "no"
        return verdicts.vlmevalkit(text) if self.variant == "vlmevalkit" else verdicts.muster(text)

    def _share_of_groups(self, rows: Sequence[ScoredSample], part: _Part) -> float:
        """The share of the groups with the same figure (or question) of a set in which all answers are right."""
        skips = part == "figure_id" and (self.variant == "muster" or self.judged is not None)
        groups: dict[tuple[str, ...], bool] = {}
        for row in rows:
            if skips and _lacks_figure(row.sample):
                continue
            key = (*self._set_of(row.sample), _text(row.sample, part), str(row.repeat))
            groups[key] = groups.get(key, True) and row.score.scores["accuracy"] == 1.0
        return mean(map(float, groups.values()))

    def _set_of(self, sample: Sample) -> tuple[str, ...]:
        fine = _text(sample, "l2-category") or _text(sample, "subcategory")
        coarse = () if self.variant == "vlmevalkit" else (_text(sample, "category"),)
        return (*coarse, fine, _text(sample, "set_id"))


def _lacks_figure(sample: Sample) -> bool:
    return (_text(sample, "category"), _text(sample, "figure_id")) == _WITHOUT_FIGURE


def _text(sample: Sample, key: str) -> str:
    return str(sample.metadata.get(key, ""))
