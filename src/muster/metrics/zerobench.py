r"""ZeroBench (Roberts et al. 2025): a hundred questions beyond today's models, and their sub-questions.

The answer is asked for in curly braces. Sources: VLMEvalKit's class, which follows the authors' published snippet (the
last braces, which have to contain the right answer), and lmms-eval's task, which compares the whole answer; the variant
`muster` is our own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import ClassVar

from muster.core import Sample
from muster.metrics.averages import mean_score
from muster.metrics.open_numbers import last_boxed
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.repeated import passes
from muster.metrics.variants import VariantMetric

_DECIMAL = re.compile(r"-?(?:\d+\.\d+|\d+|\.\d+)")
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True, kw_only=True)
class ZeroBench(VariantMetric):
    """`accuracy`, and over `--repeats` answers `pass@k` and `pass^k`, k being their number (the paper: 5).

    With one answer all three are the same: the paper's pass@1.
    """

    name: ClassVar[str] = "zerobench"
    variants: ClassVar[tuple[str, ...]] = ("muster", "vlmevalkit", "lmms-eval")

    variant: str = "muster"

    @cached_property
    def info(self) -> MetricInfo:
        """All 0-1."""
        units = dict.fromkeys(("accuracy", "pass@k", "pass^k"), "0-1")
        return self._described("accuracy", units, {"accuracy": "accuracy"})

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is what was compared."""
        if self.variant == "lmms-eval":
            said = prediction.strip()
            hit = any(_same(said, answer.strip()) for answer in sample.answers)
            return Score({"accuracy": float(hit)}, said)
        if self.variant == "vlmevalkit":
            said = _last_braces(prediction.strip().lower())
            hit = any(answer.strip().lower() in said for answer in sample.answers)
            return Score({"accuracy": float(hit)}, said)
        found = last_boxed(prediction) or _last_braces(prediction) or prediction.strip()
        return Score({"accuracy": float(any(_same(found, answer) for answer in sample.answers))}, found)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`."""
        return {"accuracy": mean_score(rows, "accuracy"), **passes(rows, "accuracy")}


def _last_braces(text: str) -> str:
    r"""The last match of `\{(.*?)\}`; empty without one."""
    found = ""
    for line in text.split("\n"):
        place = 0
        while (start := line.find("{", place)) >= 0 and (end := line.find("}", start)) >= 0:
            found, place = line[start + 1 : end], end + 1
    return found


def _same(said: str, right: str) -> bool:
    """Equal as decimals, else as texts without case, quotes, repeated blanks and a last period."""
    first, second = _normal(said), _normal(right)
    numbers = [_decimal(first), _decimal(second)]
    if None not in numbers:
        return numbers[0] == numbers[1]
    return first == second


def _normal(text: str) -> str:
    plain = _BLANKS.sub(" ", text.strip().lower().strip("\"'`"))
    return plain[:-1].rstrip() if plain.endswith(".") else plain


def _decimal(text: str) -> Decimal | None:
    plain = text.strip().replace(",", "")
    return Decimal(plain) if _DECIMAL.fullmatch(plain) else None
