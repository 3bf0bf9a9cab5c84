"""Number: the answer gives the right number, in whatever form, within a tolerance. The rule is our own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

from muster.core import ConfigurationError, Sample
from muster.metrics.mean_metric import MeanMetric
from muster.metrics.number_reading import read_number
from muster.metrics.protocol import Score

_SHOWN_EXACTLY = 10**15


@dataclass(frozen=True, kw_only=True)
class Number(MeanMetric):
    """1 where the answer's number is close enough to any accepted one, else 0. Units are not compared.

    It may be off by `absolute`, or by `relative` times the accepted number, whichever is more; both are 0 by default.
    Of several numbers in an answer that states none, `several` takes the `last`, or none (`unread`).
    """

    name: ClassVar[str] = "number"
    variants: ClassVar[tuple[str, ...]] = ("muster",)

    variant: str = "muster"
    absolute: float = 0.0
    relative: float = 0.0
    several: Literal["unread", "last"] = "unread"

    def __post_init__(self) -> None:
        for name, value in (("absolute", self.absolute), ("relative", self.relative)):
            if not (value >= 0 and math.isfinite(value)):
                raise ConfigurationError(f"number: {name} is {value}, and must be a tolerance of at least 0.")

    def has_reference(self, sample: Sample) -> bool:
        """Whether one of the accepted answers is a number: without, the sample is left unscored."""
        return next(_numbers(sample), None) is not None

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is the answer's number in digits, None where it gives none, or several."""
        said = read_number(prediction, last=self.several == "last")
        if said is None:
            return Score({"accuracy": 0.0})
        return Score(
            {"accuracy": float(any(self._close(said, right) for right in _numbers(sample)))}, _shown(said)
        )

    def _close(self, said: Fraction, right: Fraction) -> bool:
        tolerance = max(_decimal(self.absolute), _decimal(self.relative) * abs(right))
        return abs(said - right) <= tolerance


def _numbers(sample: Sample) -> Iterator[Fraction]:
    return (number for answer in sample.answers if (number := read_number(answer)) is not None)


def _decimal(tolerance: float) -> Fraction:
    """As it was written: 0.1 is a tenth, which the float isn't quite."""
    return Fraction(repr(tolerance))


def _shown(number: Fraction) -> str:
    exact = number.denominator == 1 and abs(number) < _SHOWN_EXACTLY
    return str(number.numerator) if exact else repr(float(number))
