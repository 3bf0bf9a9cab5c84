"""Exact match: the answer equals an accepted answer after normalisation (GQA, OCRVQA, short open answers).

Sources: GQA (Hudson & Manning 2019) and OCRVQA (Mishra et al. 2019) as scored by lmms-eval, VLMEvalKit and
InternVL's scripts; the variant `muster` is our own.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal, NamedTuple, Self

from muster.core import ConfigurationError, Sample
from muster.metrics.mean_metric import MeanMetric
from muster.metrics.protocol import Score

Benchmark = Literal["gqa", "ocrvqa"]

_NO_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Rules(NamedTuple):
    """How the `muster` variant normalises both sides before it compares."""

    strip: bool = True
    ignore_case: bool = True
    ignore_punctuation: bool = False

    def apply(self, text: str) -> str:
        """The form of `text` that is compared."""
        if self.ignore_case:
            text = text.casefold()
        if self.ignore_punctuation:
            text = "".join(char for char in text if not unicodedata.category(char).startswith("P"))
        return " ".join(text.split()) if self.strip else text


def lmms_eval_normal(text: str) -> str:
    """lmms-eval's `exact_match`: lower case, without the 32 ASCII punctuation characters."""
    return text.lower().translate(_NO_ASCII_PUNCTUATION)


def _strip_lower(text: str) -> str:
    return text.strip().lower()


def _identity(text: str) -> str:
    return text


class _Comparison(NamedTuple):
    prediction: Callable[[str], str]
    answer: Callable[[str], str]


_REFERENCES: dict[tuple[str, Benchmark], _Comparison] = {
    ("lmms-eval", "gqa"): _Comparison(lambda text: lmms_eval_normal(text.strip()), lmms_eval_normal),
    ("vlmevalkit", "gqa"): _Comparison(_strip_lower, _strip_lower),
    ("vlmevalkit", "ocrvqa"): _Comparison(_strip_lower, _strip_lower),
    # InternVL writes GQA answers to a file in this form; the benchmark's own script compares them as they are.
    ("internvl", "gqa"): _Comparison(lambda text: text.rstrip(".").lower(), _identity),
    ("internvl", "ocrvqa"): _Comparison(_strip_lower, _strip_lower),
}


@dataclass(frozen=True, kw_only=True)
class ExactMatch(MeanMetric):
    """1 where the answer equals any accepted answer, else 0.

    `strip` (also collapses inner blanks), `ignore_case` and `ignore_punctuation` (Unicode) shape the variant
    `muster` and are refused elsewhere; `benchmark` says whose convention the other variants follow.
    """

    name: ClassVar[str] = "exact_match"
    variants: ClassVar[tuple[str, ...]] = ("muster", "lmms-eval", "vlmevalkit", "internvl")
    percentages: ClassVar[Mapping[str, str]] = {"vlmevalkit": "overall"}

    variant: str = "muster"
    strip: bool = True
    ignore_case: bool = True
    ignore_punctuation: bool = False
    benchmark: Benchmark = "gqa"

    def __post_init__(self) -> None:
        if self.variant != "muster" and self._rules != Rules():
            raise ConfigurationError(
                f"exact_match: strip, ignore_case and ignore_punctuation belong to the variant 'muster'; "
                f"the variant {self.variant!r} normalises as its toolkit does. Remove them, or choose 'muster'."
            )

    @property
    def offered(self) -> tuple[str, ...]:
        """lmms-eval doesn't evaluate OCRVQA."""
        left_out = "lmms-eval" if self.benchmark == "ocrvqa" else ""
        return tuple(name for name in self.variants if name != left_out)

    def in_variant(self, variant: str) -> Self:
        """Another variant; the rules of `muster` mean nothing to it and go."""
        own = self._rules if variant == "muster" else Rules()
        return replace(self, variant=variant, **own._asdict())

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is what was compared."""
        normal = self._comparison.prediction(prediction)
        hit = any(normal == self._comparison.answer(answer) for answer in sample.answers)
        return Score({"accuracy": float(hit)}, normal)

    @property
    def _rules(self) -> Rules:
        return Rules(self.strip, self.ignore_case, self.ignore_punctuation)

    @cached_property
    def _comparison(self) -> _Comparison:
        if self.variant == "muster":
            return _Comparison(self._rules.apply, self._rules.apply)
        return _REFERENCES[self.variant, self.benchmark]
