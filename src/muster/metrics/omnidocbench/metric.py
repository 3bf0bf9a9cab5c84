"""OmniDocBench 1.5 (Ouyang et al. 2025): pages of documents as Markdown.

Source: the authors' end-to-end evaluation (`official`), `quick_match`. CDM, which renders each formula by LaTeX and
compares pictures, isn't there, and so is no `Overall`, of which it is a third; formulas are compared by edit distance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from muster.core import Sample
from muster.metrics.averages import mean, mean_score
from muster.metrics.documents.edit_distance import check_documents
from muster.metrics.omnidocbench.comparison import Compared, compared, edit_rate, mean_teds, order_rate
from muster.metrics.omnidocbench.truth import read_page
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.variants import VariantMetric

_EDITS = ("text_edit", "formula_edit", "table_edit", "order_edit")
_TEDS = ("table_teds", "table_teds_structure")
_KINDS = (*_EDITS, *_TEDS)


@dataclass(frozen=True, kw_only=True)
class OmniDocBench(VariantMetric):
    """Means over the pages that have what is compared: `text_edit`, `formula_edit`, `table_edit` and `order_edit`, edit
    distances, of which 0 is best; `table_teds` and `table_teds_structure`, of which 1 is best.

    `quality` is our own: of a page the mean of 1 - `text_edit`, `table_teds` and 1 - `formula_edit`, as far as it has
    them. A sample's answer is the annotation as JSON: `elements` and `relation`.
    """

    name: ClassVar[str] = "omnidocbench"
    variants: ClassVar[tuple[str, ...]] = ("official",)
    reads_answers: ClassVar[bool] = False

    variant: str = "official"

    @cached_property
    def info(self) -> MetricInfo:
        """All 0-1."""
        units = dict.fromkeys(("quality", *_KINDS), "0-1")
        return self._described("quality", units, {"quality": "quality"})

    def check(self) -> None:
        """Raise `MissingExtraError` where the extra `documents` isn't installed."""
        check_documents("OmniDocBench")

    def has_reference(self, sample: Sample) -> bool:
        """Whether its answer is an annotation."""
        return read_page(sample.answer) is not None

    def score(self, sample: Sample, prediction: str) -> Score:
        """What the page has, each 0 to 1, and `has_…` 1 for each that it has."""
        page = read_page(sample.answer)
        found = _scores(compared(prediction, page)) if page is not None else dict.fromkeys(_KINDS)
        scores = {name: 0.0 if value is None else value for name, value in found.items()}
        has = {f"has_{name}": float(value is not None) for name, value in found.items()}
        return Score({"quality": _quality(found), **scores, **has})

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`; NaN for what no page has."""
        return {"quality": mean_score(rows, "quality"), **{name: _mean(rows, name) for name in _KINDS}}


def _scores(page: Compared) -> dict[str, float | None]:
    return {
        "text_edit": edit_rate(page.texts),
        "formula_edit": edit_rate(page.formulas),
        "table_edit": edit_rate(page.tables),
        "order_edit": order_rate(page),
        "table_teds": mean_teds(page.tables),
        "table_teds_structure": mean_teds(page.tables, structure_only=True),
    }


def _quality(found: dict[str, float | None]) -> float:
    text, formula, table = found["text_edit"], found["formula_edit"], found["table_teds"]
    parts = [None if text is None else 1 - text, table, None if formula is None else 1 - formula]
    return mean(part for part in parts if part is not None)


def _mean(rows: Sequence[ScoredSample], name: str) -> float:
    values = [row.score.scores[name] for row in rows if row.score.scores[f"has_{name}"]]
    return mean(values) if values else math.nan
