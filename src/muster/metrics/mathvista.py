"""MathVista (Lu et al. 2024): an answer is extracted, normalised to the question's answer type, and compared.

The benchmark extracts with a language model where rules don't suffice: a judge here. Without one those answers are
unscored; they are never matched by something else. Variants after the authors' code (`official`), lmms-eval and
InternVL's scripts; the default `muster` reads numbers and choices by rules that need no judge.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from muster.core import Sample
from muster.metrics.averages import mean_score
from muster.metrics.edit_distance import levenshtein
from muster.metrics.judge_prompts import judge_prompt
from muster.metrics.letter_choice import right_letters
from muster.metrics.letters.muster import read_choice
from muster.metrics.letters.options import lettered
from muster.metrics.protocol import Inquiry, MetricInfo, Score, ScoredSample, UnscoredError
from muster.metrics.variants import VariantMetric

Extraction = Literal["rules", "quick", "given"]
"""How an answer is extracted: by the rules that come before the judge; also by the toolkit's "quick" pattern; or not
at all, since a judge has done it and the prediction is what it extracted."""

_PROMPT = "mathvista"
_LETTER = re.compile(r"\(([a-zA-Z])\)")
_QUICK_QUOTED = re.compile(r'The answer is "(.*)"\.')
_QUICK_INTERNVL = re.compile(r"(?:Final answer:|Answer:)\s*(.*)", re.IGNORECASE)
_NUMBER = re.compile(r"[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?%?")
_STATED = re.compile(r"(?:answer|result)\b[^.\n]{0,20}?(?:is|:|=)\s*(.+)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class MathVista(VariantMetric):
    """MathVista's accuracy; the toolkits print it as `average`, a percentage rounded to two digits.

    Metadata keys: `question_type` (`multi_choice`, `free_form`), `answer_type` (`text`, `integer`, `float`, `list`) and
    `precision`. The right answer is the choice's text or its letter. What the toolkit would give its judge is given to
    ours; with `empty_without_judge` it is an empty extraction, as in a toolkit whose judge failed. `query` is the
    metadata key of the question as it was asked, which the judge is shown.
    """

    name: ClassVar[str] = "mathvista"
    variants: ClassVar[tuple[str, ...]] = ("muster", "official", "lmms-eval", "internvl")

    variant: str = "muster"
    extraction: Extraction = "rules"
    empty_without_judge: bool = False
    query: str = "query"

    @cached_property
    def info(self) -> MetricInfo:
        """`accuracy`, and the toolkits' `average`."""
        units = {"accuracy": "0-1"} | ({} if self.variant == "muster" else {"average": "percent"})
        primary = "accuracy" if self.variant == "muster" else "average"
        return self._described(primary, units, dict.fromkeys(units, "accuracy"))

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is the normalised answer, None where there is none.

        Raises `UnscoredError` where the answer would have to be extracted by a judge.
        """
        if self.variant == "muster":
            return _by_our_own_rules(sample, prediction)
        found = self._extract(sample, prediction)
        if found is None:
            raise UnscoredError("a judge would have to extract the answer from this text")
        return self._score_extraction(sample, found)

    @property
    def judge_prompt(self) -> str | None:
        """See `JudgedMetric`."""
        takes_all = self.variant == "internvl" and self.extraction == "quick"  # the whole text, at worst
        rules = self.variant == "muster" or self.extraction == "given" or takes_all
        asks = not rules and not self.empty_without_judge
        return judge_prompt(_PROMPT).label if asks else None

    def inquiry(self, sample: Sample, prediction: str) -> Inquiry | None:
        """The extraction prompt, where the rules find nothing."""
        if self.judge_prompt is None or self._extract(sample, prediction) is not None:
            return None
        query = str(sample.metadata.get(self.query) or sample.question)
        response = prediction.strip() if self.variant == "lmms-eval" else prediction
        return judge_prompt(_PROMPT).fill({"query": query, "response": response})

    def score_verdict(self, sample: Sample, verdict: str) -> Score:
        """`accuracy` of what the judge has extracted, which is normalised and compared as always."""
        if not verdict.strip():
            raise UnscoredError("the judge extracted nothing")
        return self._score_extraction(sample, verdict.strip())

    def _score_extraction(self, sample: Sample, extraction: str) -> Score:
        lmms = self.variant == "lmms-eval"
        normal = normalise(extraction, sample, whole_precision=not lmms)
        right = _as_text(sample)
        hit = str(normal).strip() == right.strip() if lmms else normal == right
        return Score({"accuracy": float(hit and bool(sample.answers))}, normal)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`; lmms-eval gives nothing (NaN) instead of 0 %."""
        right = sum(row.score.scores["accuracy"] for row in rows)
        result = {"accuracy": mean_score(rows, "accuracy")}
        if self.variant != "muster":
            nothing = self.variant == "lmms-eval" and not right
            result["average"] = float("nan") if nothing else round(100 * right / len(rows), 2)
        return result

    def _extract(self, sample: Sample, prediction: str) -> str | None:
        """What is extracted without a judge; None where the toolkit would ask one."""
        if self.extraction == "given":
            return prediction
        text = prediction.strip() if self.variant == "lmms-eval" else prediction
        found = extract(text, sample)
        if found is None and self.extraction == "quick":
            found = _quick_internvl(text) if self.variant == "internvl" else _quick_quoted(text)
        return "" if found is None and self.empty_without_judge else found


def extract(text: str, sample: Sample) -> str | None:
    """What can be extracted before a judge is asked: nothing from nothing, a choice, or a number; else None."""
    if not text or text in sample.choices:
        return text
    kind = sample.metadata.get("answer_type")
    try:
        if kind == "integer":
            return str(int(text))
        if kind == "float":
            return str(float(text))
    except ValueError:
        pass
    return None


def _quick_quoted(text: str) -> str | None:
    found = _QUICK_QUOTED.search(text)
    return found.group(1) if found else None


def _quick_internvl(text: str) -> str:
    found = _QUICK_INTERNVL.search(text)
    return found.group(1).strip() if found else text


def normalise(extraction: str, sample: Sample, *, whole_precision: bool) -> str | None:
    """The extraction in the form of the question's answers, None where it can't be.

    `whole_precision` makes an integer of the precision first; without, one that the dataset has as `1.0` fails (sic).
    """
    if sample.metadata.get("question_type") == "multi_choice":
        return _as_choice(extraction.strip(), sample.choices)
    kind = sample.metadata.get("answer_type")
    try:
        if kind == "integer":
            return str(int(float(extraction)))
        if kind == "float":
            return _rounded(float(extraction), sample.metadata.get("precision"), whole=whole_precision)
    except (ValueError, TypeError, OverflowError):
        return None
    return extraction


def _as_text(sample: Sample) -> str:
    """The right answer; of a choice its text, where the sample has its letter."""
    if sample.answer in sample.choices:
        return sample.answer
    return lettered(sample.choices).get(sample.answer, sample.answer)


def _rounded(value: float, precision: object, *, whole: bool) -> str:
    if whole:
        if not isinstance(precision, int | float | str):
            raise TypeError(f"a precision of {precision!r}")
        return str(round(value, int(float(precision))))
    if precision is None:
        return str(round(value))
    if not isinstance(precision, int):
        raise TypeError(f"a precision of {precision!r}")
    return str(round(value, precision))


def _as_choice(text: str, choices: Sequence[str]) -> str | None:
    """The choice with that letter, else the one that is least different, the first of several."""
    if not choices:
        return None
    letter = _LETTER.search(text)
    if letter:
        text = letter.group(1).upper()
    named = dict(zip(map(chr, range(ord("A"), ord("A") + len(choices))), choices, strict=True))
    return named.get(text) or min(choices, key=lambda choice: levenshtein(text, choice))


def _by_our_own_rules(sample: Sample, prediction: str) -> Score:
    """A choice as in `multiple_choice`; else the stated or the only number; else the whole text."""
    if sample.choices:
        options = lettered(sample.choices)
        letter = read_choice(prediction, options)
        hit = letter is not None and letter in right_letters(sample.answers, options)
        return Score({"accuracy": float(hit)}, letter)
    said = (
        _number_in(prediction) if sample.metadata.get("answer_type") in ("integer", "float") else prediction
    )
    normal = None if said is None else normalise(said.strip(), sample, whole_precision=True)
    return Score({"accuracy": float(normal is not None and normal in sample.answers)}, normal)


def _number_in(text: str) -> str | None:
    stated = _STATED.findall(text)
    for part in (stated[-1], text) if stated else (text,):
        numbers = [number for number in _NUMBER.findall(part) if any(char.isdigit() for char in number)]
        if len(set(numbers)) == 1:
            return str(numbers[0]).rstrip("%").replace(",", "").replace("−", "-")
    return None
