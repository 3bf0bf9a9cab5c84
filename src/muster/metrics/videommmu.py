"""Video-MMMU (Hu et al. 2025): what is learned from lectures, by perception, comprehension and adaptation.

Sources: the authors' code (`official`) and lmms-eval's task; the variant `muster` reads letters by our own rules. Where
both leave out empty answers, here they are wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from muster.core import JSON, Sample
from muster.metrics.averages import mean_score
from muster.metrics.letter_choice import right_letters
from muster.metrics.letters import videommmu as letters
from muster.metrics.letters.lmms_eval import extract_option
from muster.metrics.letters.muster import read_choice
from muster.metrics.letters.options import lettered
from muster.metrics.mmmu_subjects import over_subjects, subject_of, subjects_or_disciplines
from muster.metrics.open_answers import INDICATORS, is_right, parse_open
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.variants import VariantMetric

_MORE_INDICATORS = (
    *INDICATORS,
    *(
        "are ",
        "in total ",
        "total ",
        "identify ",
        "recognize ",
        "calculated as ",
        "counted as ",
        "measured as ",
    ),
    *(
        "observed as ",
        "concluded as ",
        "found to be ",
        "equals ",
        "determined to be ",
        "number of ",
        "value is ",
    ),
    *("adds up to ", "have ", "has "),
)
_READERS = {"muster": read_choice, "official": letters.official, "lmms-eval": extract_option}
_DIGITS = 5


@dataclass(frozen=True, kw_only=True)
class VideoMmmu(VariantMetric):
    """`accuracy`, and the toolkits' `overall`: the subjects' accuracies by their size, rounded to five digits.

    Questions are open where there are no choices. Breakdowns by `subject` and `discipline` need no metadata.
    """

    name: ClassVar[str] = "videommmu"
    variants: ClassVar[tuple[str, ...]] = tuple(_READERS)

    variant: str = "muster"

    @cached_property
    def info(self) -> MetricInfo:
        """Accuracy, and the toolkits' rounding of it."""
        units = {"accuracy": "0-1"} | ({} if self.variant == "muster" else {"overall": "0-1"})
        return self._described("accuracy", units, dict.fromkeys(units, "accuracy"))

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is what was read."""
        if not sample.choices:
            parsed = parse_open(prediction, _MORE_INDICATORS) if prediction else []
            return Score({"accuracy": float(is_right(parsed, sample.answers))}, "; ".join(map(str, parsed)))
        options = lettered(sample.choices)
        letter = _READERS[self.variant](prediction, options)
        right = right_letters(sample.answers, options) if self.variant == "muster" else set(sample.answers)
        return Score({"accuracy": float(letter is not None and letter in right)}, letter)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`."""
        result = {"accuracy": mean_score(rows, "accuracy")}
        if "overall" in self.info.units:
            result["overall"] = round(over_subjects(rows, subject_of), _DIGITS)
        return result

    def categories(self, rows: Sequence[ScoredSample], key: str) -> Sequence[JSON] | None:
        """`subject` and `discipline`, as the ids have them."""
        return subjects_or_disciplines(rows, key)
