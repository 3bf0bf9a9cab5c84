"""Multiple choice about long videos and about motion: LVBench, MLVU and MotionBench.

Sources: the authors' code of LVBench and MLVU (`official`) and lmms-eval's tasks; the variant `muster` is our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from muster.metrics.averages import mean
from muster.metrics.letter_choice import OWN, Convention, LetterChoice
from muster.metrics.letters import marked
from muster.metrics.letters.lmms_eval import extract_letter
from muster.metrics.macro_choice import MacroChoice
from muster.metrics.protocol import MetricInfo, ScoredSample

if TYPE_CHECKING:
    from muster.metrics.terms import Array, Terms

_OFFICIAL = "official"
_M_AVG = "M-Avg"


@dataclass(frozen=True, kw_only=True)
class LvBench(LetterChoice):
    """LVBench (Wang et al. 2025). A question counts in each of its types, as the authors print them."""

    name: ClassVar[str] = "lvbench"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        _OFFICIAL: Convention(marked.lvbench),
        "lmms-eval": Convention(extract_letter),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)
    types: ClassVar[Mapping[str, str]] = {
        "key information retrieval": "KIR",
        "event understanding": "EU",
        "summarization": "Sum",
        "entity recognition": "ER",
        "reasoning": "Rea",
        "temporal grounding": "TG",
    }

    question_type: str = "question_type"
    """The metadata key of a question's types, a list."""

    @cached_property
    def info(self) -> MetricInfo:
        """`accuracy`, and that of each type under the leaderboard's name for it."""
        units = dict.fromkeys(("accuracy", *self.types.values()), "0-1")
        return self._described("accuracy", units, {"accuracy": "accuracy"})

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`; NaN for a type without questions."""
        result = super().aggregate(rows)
        for name, short in self.types.items():
            scores = [row.score.scores["accuracy"] for row in rows if name in self._types_of(row)]
            result[short] = mean(scores) if scores else float("nan")
        return result

    def _types_of(self, row: ScoredSample) -> list[object]:
        value = row.sample.metadata.get(self.question_type)
        return list(value) if isinstance(value, list) else [value]


@dataclass(frozen=True, kw_only=True)
class Mlvu(MacroChoice):
    """MLVU's multiple choice (Zhou et al. 2025): `average` is M-Avg, the unweighted mean over its seven tasks.

    The authors read the character before the first closing bracket, since their prompt ends in "Best option: (".
    """

    name: ClassVar[str] = "mlvu"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        _OFFICIAL: Convention(marked.mlvu),
        "lmms-eval": Convention(extract_letter),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)
    headline: ClassVar[tuple[str, ...]] = variants

    macro: str = "task_type"

    @cached_property
    def info(self) -> MetricInfo:
        """Micro and macro average, and the authors' percentage."""
        units = {"accuracy": "0-1", "average": "0-1"}
        if self.variant == _OFFICIAL:
            units[_M_AVG] = "percent"
        return self._described("average", units, {"accuracy": "accuracy"})

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`."""
        result = super().aggregate(rows)
        if self.variant == _OFFICIAL:
            tasks: dict[str, list[float]] = {}
            for row in rows:
                tasks.setdefault(self._category_of(row.sample), []).append(row.score.scores["accuracy"])
            result[_M_AVG] = mean(sum(scores) / len(scores) * 100 for scores in tasks.values())
        return result

    def additive_terms(self, rows: Sequence[ScoredSample]) -> Terms:
        """See `MacroMean`; the percentage is that of the average."""
        terms = super().additive_terms(rows)
        if self.variant != _OFFICIAL:
            return terms

        def formula(sums: Array) -> dict[str, Array]:
            average = terms.formula(sums)["average"]
            return {"average": average, _M_AVG: 100 * average}

        return replace(terms, formula=formula)


@dataclass(frozen=True, kw_only=True)
class MotionBench(LetterChoice):
    """MotionBench (Hong et al. 2025). The authors publish no reader of answers, only a form for letters."""

    name: ClassVar[str] = "motionbench"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "lmms-eval": Convention(marked.motionbench),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)
