"""MMVP (Tong et al. 2024): two images that look alike to CLIP, one question; a pair counts where both are right.

Sources: the authors' grader (`official`), a language model that says yes or no, lmms-eval's task, VLMEvalKit's
`can_infer` (no judge) and InternVL's script; the variant `muster` is our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from muster.core import Sample
from muster.metrics.averages import mean, mean_score
from muster.metrics.judge_prompts import judge_prompt
from muster.metrics.letter_choice import OWN, Convention, LetterChoice
from muster.metrics.letters.internvl import post_process
from muster.metrics.letters.mmvp import read_mmvp
from muster.metrics.letters.options import lettered
from muster.metrics.letters.vlmevalkit import infer_letter
from muster.metrics.protocol import Inquiry, MetricInfo, Score, ScoredSample, UnscoredError

_OFFICIAL = "official"
_PROMPT = "mmvp"


@dataclass(frozen=True, kw_only=True)
class Mmvp(LetterChoice):
    """`pair` is the metadata key that both questions of a pair have in common. VLMEvalKit prints `pair_accuracy` as
    "Overall". A pair of which only one question was answered isn't right; lmms-eval leaves it out.

    The authors have every answer graded: `official` needs a judge. What it says other than yes is a no.
    """

    name: ClassVar[str] = "mmvp"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        _OFFICIAL: OWN,
        "lmms-eval": Convention(read_mmvp),
        "vlmevalkit": Convention(infer_letter, needs_options=True),
        "internvl": Convention(post_process),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)

    pair: str = "pair"

    @cached_property
    def info(self) -> MetricInfo:
        """Accuracy over the pairs and over the questions."""
        units = {"accuracy": "0-1", "pair_accuracy": "0-1"}
        return self._described("pair_accuracy", units, {"accuracy": "accuracy"})

    @property
    def judge_prompt(self) -> str | None:
        """See `JudgedMetric`."""
        return judge_prompt(_PROMPT).label if self.variant == _OFFICIAL else None

    def score(self, sample: Sample, prediction: str) -> Score:
        """See `LetterChoice`. Raises `UnscoredError` in the variant `official`."""
        if self.variant == _OFFICIAL:
            raise UnscoredError("a judge would have to say whether this answer is right")
        return super().score(sample, prediction)

    def inquiry(self, sample: Sample, prediction: str) -> Inquiry | None:
        """Whether the answer is right."""
        if self.variant != _OFFICIAL:
            return None
        options = lettered(sample.choices)
        listed = "".join(f" ({letter.lower()}) {text}" for letter, text in options.items())
        truth = f"({sample.answer.lower()}) {options.get(sample.answer, '')}".strip()
        return judge_prompt(_PROMPT).fill(
            {"question": sample.question + listed, "truth": truth, "prediction": prediction.strip()}
        )

    def score_verdict(self, sample: Sample, verdict: str) -> Score:  # noqa: ARG002
        """1 for a yes, also with a period."""
        said = verdict.strip().rstrip(".").lower()
        return Score({"accuracy": float(said == "yes")}, said)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`."""
        pairs: dict[tuple[str, int], list[float]] = {}
        for row in rows:
            key = (str(row.sample.metadata.get(self.pair)), row.repeat)
            pairs.setdefault(key, []).append(row.score.scores["accuracy"])
        counted = [both for both in pairs.values() if len(both) > 1 or self.variant != "lmms-eval"]
        return {
            "accuracy": mean_score(rows, "accuracy"),
            "pair_accuracy": mean(float(len(both) > 1 and all(both)) for both in counted),
        }
