"""MMBench (Liu et al. 2023): multiple choice, asked with the options rotated ("circular evaluation").

Variants after lmms-eval without a judge (static), VLMEvalKit (exact matching: an answer that it can't infer is wrong;
`vlmevalkit-judge`: a judge is asked which option it matches) and InternVL's `post_process`; the default `muster` is
our own reader. Where VLMEvalKit draws a random letter because its judge names none, the answer is unscored here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from muster.core import JSON, Sample
from muster.metrics.averages import mean, mean_score
from muster.metrics.judge_prompts import judge_prompt, option_matching
from muster.metrics.letter_choice import OWN, Convention, LetterChoice
from muster.metrics.letters.internvl import post_process
from muster.metrics.letters.mmbench import static
from muster.metrics.letters.options import lettered
from muster.metrics.letters.vlmevalkit import infer_letter
from muster.metrics.protocol import Inquiry, MetricInfo, Score, ScoredSample, UnscoredError
from muster.metrics.terms import Terms, numbered, ratios

if TYPE_CHECKING:
    from muster.metrics.terms import Array

_ROTATION = 1_000_000
"""Rotations of a question have its index plus multiples of this."""

_JUDGED = "vlmevalkit-judge"
_PROMPT = "option_matching"

_Group = tuple[int | str, int]
"""Question and repeat."""


@dataclass(frozen=True, kw_only=True)
class MmBench(LetterChoice):
    """MMBench's scores. `index` is the metadata key of the row's number; without it the sample's id is the number.

    `circular` (0-1) is the share of questions of which every rotation is right, and equals `accuracy`, the share of
    right answers, where nothing is rotated. lmms-eval prints `overall`, 100 times it.
    """

    name: ClassVar[str] = "mmbench"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "lmms-eval": Convention(static),
        "vlmevalkit": Convention(infer_letter, needs_options=True),
        "internvl": Convention(post_process),
        _JUDGED: Convention(infer_letter, needs_options=True),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)

    index: str = "index"

    @cached_property
    def info(self) -> MetricInfo:
        """Accuracy over the answers and over the questions."""
        units = {"accuracy": "0-1", "circular": "0-1"}
        if self.variant == "lmms-eval":
            units["overall"] = "percent"
        return self._described("circular", units, {"accuracy": "accuracy"})

    @property
    def judge_prompt(self) -> str | None:
        """See `JudgedMetric`."""
        return judge_prompt(_PROMPT).label if self.variant == _JUDGED else None

    def score(self, sample: Sample, prediction: str) -> Score:
        """See `LetterChoice`. Raises `UnscoredError` where the variant would ask its judge."""
        if self.variant == _JUDGED and self.inquiry(sample, prediction) is not None:
            raise UnscoredError("a judge would have to match this answer with an option")
        return super().score(sample, prediction)

    def inquiry(self, sample: Sample, prediction: str) -> Inquiry | None:
        """The matching prompt, where no option can be inferred."""
        options = lettered(sample.choices)
        if self.variant != _JUDGED or not options or infer_letter(prediction, options) is not None:
            return None
        return option_matching(sample, prediction)

    def score_verdict(self, sample: Sample, verdict: str) -> Score:
        """`accuracy` of the option that the judge named; `Z`, none of them, is wrong."""
        letter = infer_letter(verdict, lettered(sample.choices))
        if letter is None:
            raise UnscoredError(f"the judge's verdict names no option: {verdict[:80]!r}")
        return Score({"accuracy": float(letter in sample.answers)}, letter)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`. A rotation without an answer is left out of its question."""
        groups: dict[_Group, bool] = {}
        for row in rows:
            group = self._group_of(row)
            groups[group] = groups.get(group, True) and row.score.scores["accuracy"] == 1.0
        circular = mean(map(float, groups.values()))
        result = {"accuracy": mean_score(rows, "accuracy"), "circular": circular}
        return result | ({"overall": circular * 100} if self.variant == "lmms-eval" else {})

    def additive_terms(self, rows: Sequence[ScoredSample]) -> Terms:
        """Per question: 1, and whether all its rotations are right."""
        import numpy as np

        units = numbered(map(self._group_of, rows), {})
        right = np.bincount(units, weights=[row.score.scores["accuracy"] for row in rows])
        hits = right == np.bincount(units)
        values = np.stack([np.ones(len(hits)), hits], axis=1)
        return Terms(units, values, np.zeros(len(hits), dtype=np.int64), self._of_sums)

    def categories(self, rows: Sequence[ScoredSample], key: str) -> Sequence[JSON]:
        """A rotation's category is that of the question as it was first asked."""
        first: dict[_Group, Sample] = {}
        for row in rows:
            group = self._group_of(row)
            if group not in first or self._number_of(row.sample) == group[0]:
                first[group] = row.sample
        return [first[self._group_of(row)].metadata.get(key) for row in rows]

    def _of_sums(self, sums: Array) -> dict[str, Array]:
        total = sums.sum(axis=1)
        circular = ratios(total[:, 1], total[:, 0])
        return {"circular": circular} | ({"overall": circular * 100} if self.variant == "lmms-eval" else {})

    def _group_of(self, row: ScoredSample) -> _Group:
        number = self._number_of(row.sample)
        return (number % _ROTATION if isinstance(number, int) else number), row.repeat

    def _number_of(self, sample: Sample) -> int | str:
        """The row's number, or the sample's id where there is none: such a sample is a question by itself."""
        given = sample.metadata.get(self.index, sample.id)
        try:
            return int(str(given))
        except ValueError:
            return sample.id
