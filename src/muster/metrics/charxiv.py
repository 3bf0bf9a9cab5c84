"""CharXiv (Wang et al. 2024): a judge extracts the answer and grades it by the rule for its kind of question.

The rules are the authors' in our words. They grade descriptive answers five at a time, here each stands alone; what
can't be read counts as 0 with them, and is unscored here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import ClassVar, Literal

import msgspec
import yaml

from muster.core import Sample
from muster.metrics.averages import mean, mean_score
from muster.metrics.judge_prompts import judge_prompt
from muster.metrics.protocol import Inquiry, MetricInfo, Score, ScoredSample, UnscoredError
from muster.metrics.variants import VariantMetric

Part = Literal["reasoning", "descriptive"]
_PROMPT = "charxiv"
_REASONING: Mapping[int, str] = {
    1: "text_in_chart",
    2: "text_in_general",
    3: "number_in_chart",
    4: "number_in_general",
}
_DESCRIPTIVE: Mapping[int, str] = {
    1: "title",
    **dict.fromkeys((2, 3, 4, 5, 6, 7), "text"),
    **dict.fromkeys((8, 9, 10, 12, 14, 15, 17, 19), "number"),
    11: "yes_no",
    13: "list",
    16: "trend",
    18: "layout",
}
_ABILITIES: Mapping[str, Mapping[str, Sequence[int]]] = {
    "reasoning": {
        "Text-in-Chart": (1,),
        "Text-in-General": (2,),
        "Number-in-Chart": (3,),
        "Number-in-General": (4,),
    },
    "descriptive": {
        "Information Extraction": (1, 2, 3, 4, 5, 6, 7),
        "Enumeration": (8, 9, 13, 14, 15),
        "Pattern Recognition": (11, 16, 18),
        "Counting": (10, 12, 19),
        "Compositionality": (17,),
    },
}
_SCORE = re.compile(r'"score[_\w]*"\s*:\s*"?([01])\b')


@cache
def _rules() -> Mapping[str, str]:
    file = files("muster.metrics").joinpath("data", "charxiv_rules.yaml")
    return msgspec.convert(yaml.safe_load(file.read_text(encoding="utf-8")), dict[str, str])


@dataclass(frozen=True, kw_only=True)
class CharXiv(VariantMetric):
    """`accuracy`, and the same for each kind of question, as the authors group them.

    `part` says which questions: reasoning or descriptive. `kind` is the metadata key of a question's kind: of an answer
    to a reasoning question 1 to 4, of a descriptive question the number of its template, 1 to 19.
    """

    name: ClassVar[str] = "charxiv"
    variants: ClassVar[tuple[str, ...]] = ("official",)

    variant: str = "official"
    part: Part = "reasoning"
    kind: str = "kind"

    @cached_property
    def info(self) -> MetricInfo:
        """All 0-1."""
        units = dict.fromkeys(("accuracy", *_ABILITIES[self.part]), "0-1")
        return self._described("accuracy", units, {"accuracy": "accuracy"})

    @property
    def judge_prompt(self) -> str | None:
        """See `JudgedMetric`."""
        return judge_prompt(_PROMPT).label

    def score(self, sample: Sample, prediction: str) -> Score:  # noqa: ARG002
        """Always raises `UnscoredError`."""
        raise UnscoredError("a judge would have to grade this answer")

    def inquiry(self, sample: Sample, prediction: str) -> Inquiry:
        """The grading prompt, with the rule for the kind of question."""
        kinds = _REASONING if self.part == "reasoning" else _DESCRIPTIVE
        rule = _rules()[kinds.get(self._kind_of(sample), "text")]
        places = {
            "rule": rule,
            "question": sample.question,
            "truth": sample.answer,
            "prediction": prediction.strip(),
        }
        return judge_prompt(_PROMPT).fill(places)

    def score_verdict(self, sample: Sample, verdict: str) -> Score:  # noqa: ARG002
        """`accuracy` 0 or 1, and the extracted answer."""
        start, end = verdict.find("{"), verdict.rfind("}")
        try:
            said = json.loads(verdict[start : end + 1]) if 0 <= start < end else None
        except (ValueError, RecursionError):
            said = None
        if isinstance(said, dict) and said.get("score") in (0, 1):
            return Score({"accuracy": float(said["score"])}, str(said.get("extracted_answer")))
        found = _SCORE.findall(verdict)
        if len(found) != 1:
            raise UnscoredError(f"the judge's verdict has no score of 0 or 1: {verdict[:80]!r}")
        return Score({"accuracy": float(found[0])}, None)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`; NaN for a kind of question that there isn't."""
        result = {"accuracy": mean_score(rows, "accuracy")}
        for name, kinds in _ABILITIES[self.part].items():
            scores = [row.score.scores["accuracy"] for row in rows if self._kind_of(row.sample) in kinds]
            result[name] = mean(scores) if scores else float("nan")
        return result

    def _kind_of(self, sample: Sample) -> int:
        value = sample.metadata.get(self.kind)
        return int(value) if isinstance(value, int | float | str) and str(value).isdecimal() else 0
