"""MMLongBench-Doc (Ma et al. 2024): questions about documents of dozens of pages, some of which can't be answered.

Source: the authors' evaluation (`official`): a judge takes the final answer out of what the model wrote, and rules by
the kind of answer compare it. Lists are read without being evaluated. Where the authors' script would stop, an answer
is wrong; a verdict without an extracted answer leaves it unscored.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isclose
from typing import ClassVar

from muster.core import JSON, Sample
from muster.metrics.averages import mean, mean_score
from muster.metrics.edit_distance import levenshtein
from muster.metrics.judge_prompts import judge_prompt
from muster.metrics.numbers import is_float
from muster.metrics.protocol import Inquiry, MetricInfo, Score, ScoredSample, UnscoredError
from muster.metrics.variants import VariantMetric

_PROMPT = "page_answer"
_ANSWER, _FORMAT = "Extracted answer:", "Answer format:"
_NOT_ANSWERABLE = "Not answerable"
_ENDS_OF_QUOTES = re.compile(r"^['\"]|['\"]$")
_AS_IT_IS = [
    re.compile(pattern)
    for pattern in (
        r"\b\d+(-\d+|\s\d+)?\b",
        r"\b\d{4}[-\s]\d{2}[-\s]\d{2}\b",
        r"\b\d{4}[-\s]\d{2}\b",
        r"[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}",
    )
]
"""Right answers that have to be equal: telephone numbers, dates, addresses."""
_CLOSE, _ENOUGH = 0.01, 0.5


@dataclass(frozen=True, kw_only=True)
class MmLongBenchDoc(VariantMetric):
    """`accuracy`; `f1`, between the mean over the questions that have an answer and the mean over the answers that were
    given; `single_page`, `cross_page` and `unanswerable`, the accuracy of each kind of question.

    Metadata keys: `answer_format` (`Int`, `Float`, `Str`, `List` or `None`) and `evidence_pages`, a list of numbers.
    """

    name: ClassVar[str] = "mmlongbench_doc"
    variants: ClassVar[tuple[str, ...]] = ("official",)

    variant: str = "official"

    @cached_property
    def info(self) -> MetricInfo:
        """All 0-1."""
        names = ("accuracy", "f1", "single_page", "cross_page", "unanswerable")
        return self._described("accuracy", dict.fromkeys(names, "0-1"), {"accuracy": "accuracy"})

    @property
    def judge_prompt(self) -> str | None:
        """See `JudgedMetric`."""
        return judge_prompt(_PROMPT).label

    def score(self, sample: Sample, prediction: str) -> Score:  # noqa: ARG002
        """Always raises `UnscoredError`."""
        raise UnscoredError("a judge would have to extract this answer")

    def inquiry(self, sample: Sample, prediction: str) -> Inquiry:
        """What the answer comes to."""
        return judge_prompt(_PROMPT).fill({"question": sample.question, "prediction": prediction.strip()})

    def score_verdict(self, sample: Sample, verdict: str) -> Score:
        """`accuracy` 0 to 1 of the extracted answer; `given`: whether there is one."""
        before, found, extracted = verdict.split(_FORMAT)[0].partition(_ANSWER)
        del before
        if not found:
            raise UnscoredError(f"the judge's verdict has no extracted answer: {verdict[:80]!r}")
        answer = extracted.split(_ANSWER)[0].strip()
        value = _score(sample.answer, answer, str(sample.metadata.get("answer_format")))
        return Score({"accuracy": value, "given": float(answer != _NOT_ANSWERABLE)}, answer)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`; NaN for a kind of question that there isn't."""
        answerable = [row for row in rows if row.sample.answer != _NOT_ANSWERABLE]
        right = sum(row.score.scores["accuracy"] for row in answerable)
        given = sum(row.score.scores["given"] for row in rows)
        recall, precision = (right / count if count else 0.0 for count in (len(answerable), given))
        single = [row for row in rows if _pages(row.sample) == 1]
        return {
            "accuracy": mean_score(rows, "accuracy"),
            "f1": 2 * recall * precision / (recall + precision) if recall + precision else 0.0,
            "single_page": _accuracy(single),
            "cross_page": _accuracy([row for row in answerable if _pages(row.sample) != 1]),
            "unanswerable": _accuracy([row for row in rows if row.sample.answer == _NOT_ANSWERABLE]),
        }


def _accuracy(rows: Sequence[ScoredSample]) -> float:
    return mean(row.score.scores["accuracy"] for row in rows) if rows else float("nan")


def _pages(sample: Sample) -> int:
    return len(_listed(sample.metadata.get("evidence_pages")))


def _listed(value: JSON) -> list[object]:
    """A list, or the list that a text is; a list of that value otherwise."""
    if isinstance(value, str) and value.startswith("["):
        try:
            read: object = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            read = value
        return list(read) if isinstance(read, list) else [read]
    return list(value) if isinstance(value, list) else [value]


def _score(truth: str, answer: str, kind: str) -> float:
    if kind == "Int":
        return float(_whole(truth, answer))
    if kind == "Float":
        return float(_equal_numbers(_number(_clean(truth)), _number(_clean(answer))))
    if kind in ("Str", "None"):
        right, said = _clean(truth), _clean(answer)
        return float(right == said) if _has_to_be_equal(right) else _closeness(right, said)
    return _equal_lists(_listed(truth), _listed(answer))


def _whole(truth: str, answer: str) -> bool:
    try:
        return int(truth) == int(float(answer))
    except (ValueError, OverflowError):
        return False


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%").strip())
    except ValueError:
        return None


def _equal_numbers(truth: float | None, answer: float | None) -> bool:
    """Within a hundredth, or equal as far as both have decimals; as it is, or as hundredths of either."""
    if truth is None or answer is None:
        return False
    return any(
        isclose(each, answer, rel_tol=_CLOSE) or _equal_as_far_as_given(each, answer)
        for each in (truth / 100, truth, truth * 100)
    )


def _equal_as_far_as_given(truth: float, answer: float) -> bool:
    decimals = max(min(_decimals(answer), _decimals(truth)), 2)
    return round(answer, decimals) == round(truth, decimals)


def _decimals(number: float) -> int:
    written = str(number)
    return len(written.split(".")[-1]) if "." in written else 3


def _equal_lists(truth: Sequence[object], answer: Sequence[object]) -> float:
    if len(truth) != len(answer) or not truth:
        return 0.0
    right, said = (sorted(_clean(str(each)) for each in side) for side in (truth, answer))
    if is_float(right[0]) or _has_to_be_equal(right[0]):
        return float("-".join(right) == "-".join(said))
    return min(_closeness(each, other) for each, other in zip(right, said, strict=True))


def _closeness(truth: str, answer: str) -> float:
    """ANLS with the threshold 0.5, which itself is nothing."""
    longest = max(len(truth.upper()), len(answer.upper()))
    near = 1.0 - (levenshtein(truth, answer) / longest if longest else 0.0)
    return near if near > _ENOUGH else 0.0


def _has_to_be_equal(text: str) -> bool:
    return (
        "https://" in text
        or text.endswith((".py", "ipynb"))
        or text.startswith("page")
        or "a.m." in text
        or "p.m." in text
        or any(pattern.fullmatch(text) for pattern in _AS_IT_IS)
    )


def _clean(text: str) -> str:
    """In small letters, without what stands in parentheses, quotation marks, and signs of money and percent."""
    plain = _ENDS_OF_QUOTES.sub("", _without_parentheses(text.lower().strip())).strip()
    return plain.lstrip("$").strip().rstrip("%").strip()


def _without_parentheses(text: str) -> str:
    """Also without the blanks before them; in time that grows with the text."""
    kept: list[str] = []
    place = 0
    while (begin := text.find("(", place)) >= 0 and (end := text.find(")", begin)) >= 0:
        kept.append(text[place:begin].rstrip())
        place = end + 1
    return "".join([*kept, text[place:]]).strip()
