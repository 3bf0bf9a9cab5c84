"""HR-Bench (Wang et al. 2025): pictures of 4K and 8K, each question four times with its options in another order.

Sources: VLMEvalKit's class (`can_infer`, no judge) and lmms-eval's task (its rules before it asks a judge); the variant
`muster` is our own. The authors ask a language model whether the answer is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from muster.metrics.averages import mean, mean_score, numpy_mean
from muster.metrics.letter_choice import OWN, Convention, LetterChoice
from muster.metrics.letters.hrbench import lmms_eval
from muster.metrics.letters.vlmevalkit import infer_letter
from muster.metrics.protocol import MetricInfo, ScoredSample

_CATEGORIES = ("single", "cross")


@dataclass(frozen=True, kw_only=True)
class HrBench(LetterChoice):
    """`average`: the mean over the four orders of options of the accuracy in each, and of its `single` and `cross`.

    Metadata keys: `cycle`, which of the orders it is, and `category`, a single instance or several.
    """

    name: ClassVar[str] = "hrbench"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "vlmevalkit": Convention(infer_letter, needs_options=True),
        "lmms-eval": Convention(lmms_eval, ignore_case=True, needs_options=True),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)

    cycle: str = "cycle_category"
    category: str = "category"

    @cached_property
    def info(self) -> MetricInfo:
        """All 0-1."""
        units = dict.fromkeys(("average", *_CATEGORIES, "accuracy"), "0-1")
        return self._described("average", units, {"accuracy": "accuracy"})

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`; NaN for a category without questions."""
        return {
            "average": self._over_cycles(rows),
            **{
                name: self._over_cycles(
                    [row for row in rows if row.sample.metadata.get(self.category) == name]
                )
                for name in _CATEGORIES
            },
            "accuracy": mean_score(rows, "accuracy"),
        }

    def _over_cycles(self, rows: Sequence[ScoredSample]) -> float:
        cycles: dict[str, list[float]] = {}
        for row in rows:
            cycle = str(row.sample.metadata.get(self.cycle))
            cycles.setdefault(cycle, []).append(row.score.scores["accuracy"])
        if self.variant == "vlmevalkit":  # in the order in which pandas sorts groups
            cycles = dict(sorted(cycles.items()))
        add_up = numpy_mean if self.variant == "vlmevalkit" else mean
        return mean(add_up(scores) for scores in cycles.values()) if cycles else float("nan")
