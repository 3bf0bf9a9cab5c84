"""Referring expressions (RefCOCO, RefCOCO+, RefCOCOg; Yu et al. 2016): does the box overlap the right one?

Variants after InternVL's `evaluate_grounding.py` (float32, boxes in thousandths), lmms-eval (relative boxes only) and
VLMEvalKit (guesses the unit). The default is VLMEvalKit's reading, which takes boxes of all three kinds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

from muster.core import Sample
from muster.metrics import boxes
from muster.metrics.averages import mean, mean_score, numpy_mean
from muster.metrics.boxes import NOWHERE, Box, Size
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.terms import Terms, numbered, ratios
from muster.metrics.variants import VariantMetric

if TYPE_CHECKING:
    from muster.metrics.terms import Array

_RIGHT_FROM = 0.5
_THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
BoxForm = Literal["xyxy", "xywh"]


@dataclass(frozen=True, kw_only=True)
class Grounding(VariantMetric):
    """Accuracy at an intersection over union (IoU) of 0.5; also the mean IoU, and lmms-eval's further thresholds.

    Metadata keys: `width` and `height` of the image and `bbox`, the right box in pixels, in the form `box`: `xyxy`
    (corners) or `xywh` (corner and size). VLMEvalKit's `average` is the mean over the splits, by the key `split`.
    """

    name: ClassVar[str] = "grounding"
    variants: ClassVar[tuple[str, ...]] = ("vlmevalkit", "internvl", "lmms-eval")

    variant: str = "vlmevalkit"
    box: BoxForm = "xyxy"
    split: str = "split"

    @cached_property
    def info(self) -> MetricInfo:
        """`accuracy` and `iou`, and the toolkit's own."""
        units = {"accuracy": "0-1", "iou": "0-1"}
        if self.variant == "lmms-eval":
            units |= dict.fromkeys((*map(_at, _THRESHOLDS), "center_acc"), "0-1")
        means = {name: name for name in units}
        if self.variant == "vlmevalkit":
            units["average"] = "percent"
        return self._described("accuracy", units, means)

    def has_reference(self, sample: Sample) -> bool:
        """Whether the right box, of four numbers, and the image's size are known."""
        return _answer(sample, self.box) is not None and _size(sample) is not None

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1 and `iou`; `extracted` is the box as it was read."""
        size = _size(sample) or Size(1.0, 1.0)
        answer = _answer(sample, self.box) or NOWHERE
        if self.variant == "internvl":
            said: Box | None = boxes.read_internvl(prediction)
            iou = boxes.overlap_internvl(said or NOWHERE, size, answer)
        elif self.variant == "lmms-eval":
            said = boxes.read_lmms_eval(prediction.strip())
            relative = Box(*(value / side for value, side in zip(answer, (*size, *size), strict=True)))
            return _lmms_eval_score(said, relative)
        else:
            said = boxes.read_vlmevalkit(prediction)
            iou = 0.0 if said is None else boxes.overlap(boxes.to_pixels(said, size), answer)
        return Score({"accuracy": float(iou >= _RIGHT_FROM), "iou": iou}, _shown(said))

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`."""
        if self.variant != "vlmevalkit":
            return {name: mean_score(rows, name) for name in self.info.units}
        splits: dict[str, list[float]] = {}
        for row in rows:
            splits.setdefault(self._split_of(row), []).append(row.score.scores["accuracy"])
        return {
            "accuracy": mean_score(rows, "accuracy"),
            "iou": numpy_mean(row.score.scores["iou"] for row in rows),
            "average": numpy_mean(mean(scores) * 100 for scores in splits.values()),
        }

    def additive_terms(self, rows: Sequence[ScoredSample]) -> Terms:
        """Per row: 1 and its accuracy, apart for each split."""
        import numpy as np

        scores = np.array([row.score.scores["accuracy"] for row in rows])
        values = np.stack([np.ones(len(rows)), scores], axis=1)
        return Terms(np.arange(len(rows)), values, numbered(map(self._split_of, rows), {}), _average)

    def _split_of(self, row: ScoredSample) -> str:
        return str(row.sample.metadata.get(self.split))


def _average(sums: Array) -> dict[str, Array]:
    questions, right = sums[..., 0], sums[..., 1]
    return {"average": ratios(right, questions).sum(axis=1) / (questions > 0).sum(axis=1) * 100}


def _lmms_eval_score(said: Box, answer: Box) -> Score:
    iou = boxes.overlap(said, answer)
    across, down = (said.left + said.right) / 2, (said.top + said.bottom) / 2
    inside = answer.left <= across <= answer.right and answer.top <= down <= answer.bottom
    at = {_at(threshold): float(iou >= threshold) for threshold in _THRESHOLDS}
    return Score(
        {"accuracy": at[_at(_RIGHT_FROM)], "iou": iou, **at, "center_acc": float(inside)}, _shown(said)
    )


def _at(threshold: float) -> str:
    return f"acc@{threshold}"


def _size(sample: Sample) -> Size | None:
    width, height = (_number(sample.metadata.get(key)) for key in ("width", "height"))
    return (
        Size(width, height) if width is not None and height is not None and min(width, height) > 0 else None
    )


def _answer(sample: Sample, form: BoxForm) -> Box | None:
    given: object = sample.metadata.get("bbox")
    if isinstance(given, str):
        given = _in_a_cell(given)
    if not isinstance(given, list) or len(given) != len(NOWHERE):
        return None
    left, top, third, fourth = map(_number, given)
    if left is None or top is None or third is None or fourth is None:
        return None
    return Box(left, top, third, fourth) if form == "xyxy" else Box(left, top, left + third, top + fourth)


def _in_a_cell(text: str) -> object:
    """The list that a table's cell says."""
    try:
        return json.loads(text)
    except ValueError:
        return text.replace(",", " ").split()


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _shown(box: Box | None) -> str | None:
    return None if box is None else str([*box])
