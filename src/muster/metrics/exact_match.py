"""Exact match: the answer equals an accepted answer after normalisation (GQA, AI2D, short open answers).

Sources: GQA (Hudson & Manning 2019) and AI2D (Kembhavi et al. 2016) as scored by lmms-eval, VLMEvalKit and
InternVL's scripts; the variant `muster` is our own.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, NamedTuple

from muster.core import ConfigurationError, Sample
from muster.metrics.averages import mean_score
from muster.metrics.letters.options import lettered
from muster.metrics.letters.vlmevalkit import infer_letter
from muster.metrics.protocol import MetricInfo, Score, ScoredSample

Benchmark = Literal["gqa", "ai2d"]

_NO_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
_LEADING_LETTER = re.compile(r"^\s*([A-Z])\.")


class Rules(NamedTuple):
    """How the `muster` variant normalises both sides before it compares."""

    strip: bool
    ignore_case: bool
    ignore_punctuation: bool

    def apply(self, text: str) -> str:
        """The form of `text` that is compared."""
        if self.ignore_case:
            text = text.casefold()
        if self.ignore_punctuation:
            text = "".join(char for char in text if not unicodedata.category(char).startswith("P"))
        return " ".join(text.split()) if self.strip else text


def _gqa_lmms(text: str) -> str:
    return text.lower().translate(_NO_ASCII_PUNCTUATION)


def _ai2d_lmms(prediction: str) -> str:
    found = _LEADING_LETTER.search(prediction)
    return _gqa_lmms(found.group(1) if found else prediction.strip())


def _strip_lower(text: str) -> str:
    return text.strip().lower()


def _identity(text: str) -> str:
    return text


class _Comparison(NamedTuple):
    prediction: Callable[[str], str]
    answer: Callable[[str], str]


_REFERENCES: dict[tuple[str, Benchmark], _Comparison] = {
    ("lmms-eval", "gqa"): _Comparison(lambda text: _gqa_lmms(text.strip()), _gqa_lmms),
    ("lmms-eval", "ai2d"): _Comparison(_ai2d_lmms, _gqa_lmms),
    ("vlmevalkit", "gqa"): _Comparison(_strip_lower, _strip_lower),
    # InternVL writes GQA answers to a file in this form; the benchmark's own script compares them as they are.
    ("internvl", "gqa"): _Comparison(lambda text: text.rstrip(".").lower(), _identity),
    ("internvl", "ai2d"): _Comparison(_strip_lower, _strip_lower),
}


class ExactMatch:
    """1 where the answer equals any accepted answer, else 0.

    `strip` (also collapses inner blanks), `ignore_case` and `ignore_punctuation` (Unicode) shape the variant
    `muster` and are refused elsewhere; `benchmark` says whose convention the other variants follow.
    """

    variants: ClassVar[tuple[str, ...]] = ("muster", "lmms-eval", "vlmevalkit", "internvl")

    def __init__(
        self,
        variant: str = "muster",
        *,
        strip: bool = True,
        ignore_case: bool = True,
        ignore_punctuation: bool = False,
        benchmark: Benchmark = "gqa",
    ) -> None:
        rules = Rules(strip, ignore_case, ignore_punctuation)
        if variant != "muster" and rules != Rules(True, True, False):
            raise ConfigurationError(
                f"exact_match: strip, ignore_case and ignore_punctuation belong to the variant 'muster'; "
                f"the variant {variant!r} normalises as its toolkit does. Remove them, or choose 'muster'."
            )
        self._variant = variant
        own = _Comparison(rules.apply, rules.apply)
        self._comparison = own if variant == "muster" else _REFERENCES.get((variant, benchmark))
        self.info = MetricInfo(
            name="exact_match",
            variant=variant,
            version=1,
            primary="accuracy",
            units={"accuracy": "0-1"},
            means={"accuracy": "accuracy"},
        )

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is what was compared."""
        if self._comparison is None:  # VLMEvalKit scores AI2D as multiple choice
            letter = infer_letter(prediction, lettered(sample.choices))
            return Score({"accuracy": float(letter in sample.answers)}, letter)
        normal = self._comparison.prediction(prediction)
        hit = any(normal == self._comparison.answer(answer) for answer in sample.answers)
        return Score({"accuracy": float(hit)}, normal)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """The mean accuracy, 0-1."""
        return {"accuracy": mean_score(rows, "accuracy")}
