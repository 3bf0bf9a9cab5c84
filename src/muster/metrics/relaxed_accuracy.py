"""Relaxed accuracy (Masry et al. 2022, ChartQA): numbers within 5 %, everything else equal ignoring case.

Variants after lmms-eval, VLMEvalKit and InternVL, which divides by the answer instead of the right value.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import ClassVar

from muster.core import Sample
from muster.metrics.averages import mean_score
from muster.metrics.protocol import MetricInfo, Score, ScoredSample

_TOLERANCE = 0.05


class RelaxedAccuracy:
    """1 where the answer is close enough to any accepted answer, else 0."""

    variants: ClassVar[tuple[str, ...]] = ("lmms-eval", "vlmevalkit", "internvl")

    def __init__(self, variant: str = "lmms-eval") -> None:
        self._variant = variant
        self.info = MetricInfo(
            name="relaxed_accuracy",
            variant=variant,
            version=1,
            primary="accuracy",
            units={"accuracy": "0-1"},
            means={"accuracy": "accuracy"},
        )

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is the stripped answer."""
        said = prediction.strip()
        answers = list(sample.answers)
        if self._variant == "vlmevalkit" and len(answers) == 1:
            answers = _listed(answers[0])
        if self._variant == "internvl":
            hit = any(_close(target=said, value=answer) for answer in answers)  # sic: the roles are swapped
        else:
            hit = any(_close(target=answer, value=said) for answer in answers)
        return Score({"accuracy": float(hit)}, said)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """The mean accuracy, 0-1."""
        return {"accuracy": mean_score(rows, "accuracy")}


def _close(*, target: str, value: str) -> bool:
    aim, number = _number(target), _number(value)
    if number is None or aim is None or aim == 0:
        return value.lower() == target.lower()
    return abs(number - aim) / abs(aim) <= _TOLERANCE


def _number(text: str) -> float | None:
    """What Python's `float` makes of it, percent as a fraction; None where it makes nothing."""
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def _listed(answer: str) -> list[str]:
    """The elements of an answer that is written as a list, as strings; read without `eval`."""
    if not answer.lstrip().startswith("["):
        return [answer]
    try:
        value: object = ast.literal_eval(answer)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return [answer]
    return [str(item) for item in value] if isinstance(value, list) else [answer]
