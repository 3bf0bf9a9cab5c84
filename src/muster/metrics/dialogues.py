"""Dialogues: each turn by another metric, and a dialogue by all of its turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from muster.core import ConfigurationError, Sample
from muster.metrics.averages import mean, mean_score
from muster.metrics.protocol import Metric, MetricInfo, Score, ScoredSample, has_reference
from muster.metrics.variants import VariantMetric


@dataclass(frozen=True, kw_only=True)
class Dialogues(VariantMetric):
    """`accuracy`, the mean over the turns; `complete`, the share of dialogues of which every turn has the full score.

    `of` is the metric of a turn in its default variant, one whose headline is a mean from 0 to 1. Metadata keys:
    `dialogue` and `turns`, how many it has, as `source.turns` gives them; a sample without them is a dialogue of one
    turn. One of which a turn has no score isn't complete.
    """

    name: ClassVar[str] = "dialogues"
    reads_answers: ClassVar[bool] = False
    variants: ClassVar[tuple[str, ...]] = ("muster",)

    variant: str = "muster"
    of: str = "exact_match"

    @cached_property
    def info(self) -> MetricInfo:
        """The mean over the turns, and the share of complete dialogues."""
        units = {"accuracy": "0-1", "complete": "0-1"}
        return self._described("accuracy", units, {"accuracy": "accuracy"})

    @cached_property
    def _turn(self) -> Metric:
        from muster.metrics.registry import build_metric

        metric = build_metric(self.of)
        info = metric.info
        if info.primary not in info.means or info.units[info.primary] != "0-1":
            raise ConfigurationError(
                f"metric 'dialogues', of: {self.of}: its headline, {info.primary}, is no mean from 0 to 1 of answers"
            )
        return metric

    def __post_init__(self) -> None:
        """Raises `ConfigurationError` where there is no such metric, or it doesn't fit."""
        _ = self._turn

    def has_reference(self, sample: Sample) -> bool:
        """As the turn's metric has it."""
        return has_reference(self._turn, sample)

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` of the turn, and what its metric extracted. Raises what that raises."""
        score = self._turn.score(sample, prediction)
        info = self._turn.info
        return Score({"accuracy": score.scores[info.means[info.primary]]}, score.extracted)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`; every repeat of a dialogue counts."""
        dialogues: dict[tuple[str, int], list[ScoredSample]] = {}
        for row in rows:
            name = str(row.sample.metadata.get("dialogue", row.sample.id))
            dialogues.setdefault((name, row.repeat), []).append(row)
        return {
            "accuracy": mean_score(rows, "accuracy"),
            "complete": mean(float(_is_complete(turns)) for turns in dialogues.values()),
        }


def _is_complete(turns: Sequence[ScoredSample]) -> bool:
    there_are = turns[0].sample.metadata.get("turns", 1)
    return len(turns) == there_are and all(row.score.scores["accuracy"] == 1 for row in turns)
