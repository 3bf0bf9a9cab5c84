"""ANLS, average normalised Levenshtein similarity (Biten et al. 2019; DocVQA, InfoVQA).

Variants differ in one thing: lmms-eval strips the answer first; InternVL and VLMEvalKit don't, so that blanks
around it enlarge the length that the distance is divided by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from muster.core import ConfigurationError, Sample
from muster.metrics.edit_distance import levenshtein
from muster.metrics.mean_metric import MeanMetric
from muster.metrics.protocol import Score


@dataclass(frozen=True, kw_only=True)
class Anls(MeanMetric):
    """1 minus the smallest normalised distance to an accepted answer; 0 where that is below `threshold`."""

    name: ClassVar[str] = "anls"
    variants: ClassVar[tuple[str, ...]] = ("lmms-eval", "internvl", "vlmevalkit")
    score_name: ClassVar[str] = "anls"
    percentages: ClassVar[Mapping[str, str]] = {"vlmevalkit": "overall"}

    variant: str = "lmms-eval"
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ConfigurationError(
                f"anls: threshold is {self.threshold}, and must lie between 0 and 1 (usually 0.5)."
            )

    def score(self, sample: Sample, prediction: str) -> Score:
        """`anls` between 0 and 1, 0 where there is no accepted answer."""
        said = prediction.strip() if self.variant == "lmms-eval" else prediction
        distances = [self._distance(answer, said) for answer in sample.answers]
        similarity = 1 - min(distances, default=1.0)
        return Score({"anls": 0.0 if similarity < self.threshold else similarity}, said)

    def _distance(self, answer: str, said: str) -> float:
        first, second = _collapsed(answer), _collapsed(said)
        length = max(len(answer.upper()), len(said.upper()))  # sic: of the texts as they came
        if length == 0:
            return 0.0
        least = abs(len(first) - len(second)) / length
        if 1 - least < self.threshold:
            return least  # scores 0 whatever the distance is: spares the square of a runaway answer's length
        return levenshtein(first, second) / length


def _collapsed(text: str) -> str:
    return " ".join(text.strip().lower().split())
