"""DynaMath (Zou et al. 2025): each of 501 questions in ten variants, right on average and right in the worst case.

Sources: the authors' evaluation (`official`) and VLMEvalKit's class, whose judge is ours; the variant `muster` reads
letters and numbers by our own rules.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from muster.core import Sample
from muster.metrics.averages import mean, numpy_mean
from muster.metrics.letters.muster import read_choice
from muster.metrics.open_numbers import last_number
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.variants import VariantMetric

_OFFICIAL, _VLMEVALKIT = "official", "vlmevalkit"
_FLOAT, _CHOICE = "float", "multiple choice"
_TOLERANCE = 0.001
_SHORT = "short answer"
_PI = "π"


@dataclass(frozen=True, kw_only=True)
class DynaMath(VariantMetric):
    """`accuracy` over all variants, and `worst`: the share of questions of which every variant is right.

    Metadata keys: `question`, the question's number, and `answer_type` (`float`, `multiple choice`, `text`). The
    authors and VLMEvalKit read the "short answer" of a JSON object that the prompt asks for; without one, the authors
    take the last line without its last character, and VLMEvalKit all of the answer (it asks a judge where that is
    neither a letter nor a number: here it is wrong). To VLMEvalKit a text is right that the right one contains, nothing
    at all included.
    """

    name: ClassVar[str] = "dynamath"
    variants: ClassVar[tuple[str, ...]] = ("muster", _OFFICIAL, _VLMEVALKIT)

    variant: str = "muster"
    question: str = "qid"

    @cached_property
    def info(self) -> MetricInfo:
        """Both, 0-1."""
        return self._described("accuracy", {"accuracy": "0-1", "worst": "0-1"}, {"accuracy": "accuracy"})

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is the short answer."""
        kind = str(sample.metadata.get("answer_type"))
        if self.variant == _OFFICIAL:
            said: str | None = _official_answer(prediction)
            hit = said is not None and _official(said, kind, sample.answer)
        elif self.variant == _VLMEVALKIT:
            said, hit = _vlmevalkit(prediction, kind, sample.answer)
        else:
            said, hit = _muster(prediction, kind, sample.answer)
        return Score({"accuracy": float(hit and bool(sample.answers))}, said)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`. A question of which not all variants were answered goes by those that were."""
        questions: dict[tuple[str, int], list[float]] = {}
        for row in rows:
            key = (str(row.sample.metadata.get(self.question)), row.repeat)
            questions.setdefault(key, []).append(row.score.scores["accuracy"])
        add_up = numpy_mean if self.variant == _VLMEVALKIT else mean
        return {
            "accuracy": add_up(row.score.scores["accuracy"] for row in rows),
            "worst": add_up(float(min(scores) == 1) for scores in questions.values()),
        }


def _within_braces(text: str) -> str:
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else text


def _short_answer(text: str) -> object:
    """The "short answer" of a JSON object; raises `ValueError` or `AttributeError` where there is none."""
    return json.loads(text, strict=False).get(_SHORT)


def _official_answer(text: str) -> str | None:
    plain = _within_braces(text)
    plain = text if plain is text and not text.endswith("}") else plain.replace("\\", "")
    try:
        return str(_short_answer(plain))
    except AttributeError:  # JSON, but no object
        return None
    except (ValueError, RecursionError):
        return plain.split("\n")[-1][:-1]


def _official(said: str, kind: str, right: str) -> bool:
    if kind == _FLOAT:
        number = _number(said if said.isdigit() else said.split(" ")[0])
        return _is_close(number, right)
    if kind == _CHOICE:
        return said == right if len(said) == 1 else right in said[0:3]
    return right in said


def _is_close(number: float | None, right: str) -> bool:
    wanted = _number(right)
    return number is not None and wanted is not None and abs(number - wanted) <= _TOLERANCE


def _number(text: str) -> float | None:
    """A float, or a multiple of π; as both references read it, "3π2" is 3π."""
    try:
        return float(text.split(_PI)[0]) * math.pi if _PI in text else float(text)
    except ValueError:
        return None


def _vlmevalkit(text: str, kind: str, right: str) -> tuple[str | None, bool]:
    plain = _within_braces(text).replace("\\", "")
    said = _parsed(plain, kind, from_json=True)
    if said is None:
        said = _parsed(plain, kind, from_json=False)
    if kind == _FLOAT:
        return said, said is not None and _is_close(float(said), right)
    if kind == _CHOICE:
        return (said, said == right) if said is not None else (None, right in plain[:3].upper())
    return said, said is not None and said.lower() in right.lower()


def _parsed(text: str, kind: str, *, from_json: bool) -> str | None:
    if from_json:
        try:
            found = _short_answer(text)
        except (ValueError, AttributeError, RecursionError):
            return None
        if not isinstance(found, str):
            return None
        text = found
    if kind == _FLOAT:
        number = _number(text if text.isdigit() else text.split(" ")[0])
        return None if number is None else repr(number)
    if kind != _CHOICE:
        return text
    if len(text) == 1:
        return text.upper()
    letters = [letter for letter in "ABCDE" if letter in text.upper()]
    return letters[0] if len(letters) == 1 else None


def _muster(text: str, kind: str, right: str) -> tuple[str | None, bool]:
    """A letter by our own reader; the stated or last number; a text that is equal but for case and blanks."""
    with suppress(ValueError, AttributeError, RecursionError):
        text = str(_short_answer(_within_braces(text)))
    if kind == _CHOICE:
        letter = read_choice(text, {})
        return letter, letter == right.strip().upper()
    if kind == _FLOAT:
        number = last_number(text)
        return (None if number is None else f"{number:g}"), _is_close(number, right)
    normal = " ".join(text.casefold().split()).rstrip(".")
    return normal, normal == " ".join(right.casefold().split()).rstrip(".")
