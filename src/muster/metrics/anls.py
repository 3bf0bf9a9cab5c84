"""ANLS, average normalised Levenshtein similarity (Biten et al. 2019; DocVQA, InfoVQA).

Variants differ in one thing: lmms-eval strips the answer first; InternVL and VLMEvalKit don't, so that blanks
around it enlarge the length that the distance is divided by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from muster.core import ConfigurationError, Sample
from muster.metrics.averages import mean_score
from muster.metrics.edit_distance import levenshtein
from muster.metrics.protocol import MetricInfo, Score, ScoredSample


class Anls:
    """1 minus the smallest normalised distance to an accepted answer; 0 where that is below `threshold`."""

    variants: ClassVar[tuple[str, ...]] = ("lmms-eval", "internvl", "vlmevalkit")

    def __init__(self, variant: str = "lmms-eval", *, threshold: float = 0.5) -> None:
        if not 0 <= threshold <= 1:
            raise ConfigurationError(
                f"anls: threshold is {threshold}, and must lie between 0 and 1 (usually 0.5)."
            )
        self._strips = variant == "lmms-eval"
        self._threshold = threshold
        self.info = MetricInfo(
            name="anls",
            variant=variant,
            version=1,
            primary="anls",
            units={"anls": "0-1"},
            means={"anls": "anls"},
        )

    def score(self, sample: Sample, prediction: str) -> Score:
        """`anls` between 0 and 1, 0 where there is no accepted answer."""
        said = prediction.strip() if self._strips else prediction
        distances = [self._distance(answer, said) for answer in sample.answers]
        similarity = 1 - min(distances, default=1.0)
        return Score({"anls": 0.0 if similarity < self._threshold else similarity}, said)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """The mean ANLS, 0-1."""
        return {"anls": mean_score(rows, "anls")}

    def _distance(self, answer: str, said: str) -> float:
        first, second = _collapsed(answer), _collapsed(said)
        length = max(len(answer.upper()), len(said.upper()))  # sic: of the texts as they came
        if length == 0:
            return 0.0
        least = abs(len(first) - len(second)) / length
        if 1 - least < self._threshold:
            return least  # scores 0 whatever the distance is: spares the square of a runaway answer's length
        return levenshtein(first, second) / length


def _collapsed(text: str) -> str:
    return " ".join(text.strip().lower().split())
