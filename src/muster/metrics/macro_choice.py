"""Multiple choice averaged over categories: MMStar (Chen et al. 2024) and BLINK's average over its tasks.

Sources for MMStar: the authors' evaluation (`official`), lmms-eval's task and VLMEvalKit's `can_infer` (no judge); the
variant `muster` is our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from muster.metrics.averages import mean, mean_score
from muster.metrics.letter_choice import OWN, Convention, LetterChoice
from muster.metrics.letters.lmms_eval import extract_letter
from muster.metrics.letters.vlmevalkit import infer_letter
from muster.metrics.protocol import MetricInfo, ScoredSample
from muster.metrics.terms import Terms, numbered, ratios

if TYPE_CHECKING:
    from muster.metrics.terms import Array


@dataclass(frozen=True, kw_only=True)
class MacroChoice(LetterChoice):
    """`accuracy` over the questions, and `average`, the unweighted mean over the accuracies of categories.

    `macro` is the metadata key of the category. `headline` names the variants whose score for the task is `average`.
    """

    headline: ClassVar[tuple[str, ...]] = ()
    order: ClassVar[tuple[str, ...]] = ()
    """Categories that are added up first, in this order; the others as they appear."""

    macro: str

    @cached_property
    def info(self) -> MetricInfo:
        """Micro and macro average."""
        primary = "average" if self.variant in self.headline else "accuracy"
        return self._described(primary, {"accuracy": "0-1", "average": "0-1"}, {"accuracy": "accuracy"})

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Accuracy over the questions, and its average over the categories."""
        categories: dict[str, list[float]] = {name: [] for name in self.order}
        for row in rows:
            categories.setdefault(self._category_of(row), []).append(row.score.scores["accuracy"])
        return {
            "accuracy": mean_score(rows, "accuracy"),
            "average": mean(mean(scores) for scores in categories.values() if scores),
        }

    def additive_terms(self, rows: Sequence[ScoredSample]) -> Terms:
        """Per row: 1 and its score, apart for each category."""
        import numpy as np

        scores = np.array([row.score.scores["accuracy"] for row in rows])
        values = np.stack([np.ones(len(rows)), scores], axis=1)
        return Terms(np.arange(len(rows)), values, numbered(map(self._category_of, rows), {}), _macro_average)

    def _category_of(self, row: ScoredSample) -> str:
        return str(row.sample.metadata.get(self.macro))


def _macro_average(sums: Array) -> dict[str, Array]:
    questions, right = sums[..., 0], sums[..., 1]
    return {"average": ratios(right, questions).sum(axis=1) / (questions > 0).sum(axis=1)}


def _mmstar_official(text: str, _options: Mapping[str, str]) -> str:
    """The character where the letter stands in `B`, `(B`, `option B` and `the answer is B`; the case doesn't matter."""
    plain = text.lower().strip().replace("\n", " ")
    for introduction in ("the answer is ", "option ", "("):
        if plain.startswith(introduction):
            return plain[len(introduction) :][:1].upper()
    return plain[:1].upper()


@dataclass(frozen=True, kw_only=True)
class MmStar(MacroChoice):
    """MMStar. lmms-eval's score is `average`, over the second-level categories; the authors' and VLMEvalKit's is the
    mean over the questions. The score of a category is that of a breakdown by `category`.
    """

    name: ClassVar[str] = "mmstar"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "official": Convention(_mmstar_official),
        "lmms-eval": Convention(extract_letter),
        "vlmevalkit": Convention(infer_letter, needs_options=True),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)
    headline: ClassVar[tuple[str, ...]] = ("lmms-eval",)

    macro: str = "l2_category"
