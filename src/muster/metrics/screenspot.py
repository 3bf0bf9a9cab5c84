"""ScreenSpot-V2 (Wu et al. 2025) and ScreenSpot-Pro (Li et al. 2025): a click has to land in the element's box.

Sources: lmms-eval's tasks; of ScreenSpot-Pro also the authors' evaluation, as they ask models with a chat API
(`official`), and VLMEvalKit's class, which wants a pyautogui call. The variant `muster` reads as lmms-eval does, and
lets the unit be said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from muster.core import JSON, Sample
from muster.metrics import points
from muster.metrics.averages import mean_score
from muster.metrics.boxes import NOWHERE, Box, Size
from muster.metrics.points import Point
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.split_means import means_of_parts
from muster.metrics.variants import VariantMetric

Benchmark = Literal["v2", "pro"]
Unit = Literal["guess", "relative", "thousandths", "pixels"]
_OFFICIAL, _VLMEVALKIT = "official", "vlmevalkit"
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_KINDS = ("text", "icon")


@dataclass(frozen=True, kw_only=True)
class ScreenSpot(VariantMetric):
    """`accuracy`, the same for `text` and for `icon`, and `unreadable`, the share of answers without a point.

    `benchmark` decides the variants. Metadata keys: `bbox`, the box as left, top, right, bottom (in `v2` also as left,
    top, width, height, or relative: what it is shows in the numbers), `width` and `height` of the picture, and `kind`.
    `unit` says in what the variant `muster` takes points: `guess` takes two numbers up to 1 for relative, others for
    pixels, as lmms-eval does; models that answer in thousandths need `thousandths`.
    """

    name: ClassVar[str] = "screenspot"
    variants: ClassVar[tuple[str, ...]] = ("muster", _OFFICIAL, "lmms-eval", _VLMEVALKIT)

    variant: str = "muster"
    benchmark: Benchmark = "pro"
    unit: Unit = "guess"
    kind: str = "ui_type"

    @property
    def offered(self) -> tuple[str, ...]:
        """See `VariantMetric`."""
        return self.variants if self.benchmark == "pro" else ("muster", "lmms-eval")

    @cached_property
    def info(self) -> MetricInfo:
        """All 0-1."""
        units = dict.fromkeys(("accuracy", *_KINDS, "unreadable"), "0-1")
        return self._described("accuracy", units, {"accuracy": "accuracy", "unreadable": "unreadable"})

    def has_reference(self, sample: Sample) -> bool:
        """Whether the box is known."""
        return self._box(sample) is not None

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` and `unreadable`, 0 or 1; `extracted` is the point as it was written."""
        point, box, size = self._read(prediction), self._box(sample), _size(sample)
        hit = point is not None and box is not None and points.in_box(self._relative(point, size), box)
        said = None if point is None else f"{point.x:g}, {point.y:g}"
        return Score({"accuracy": float(hit), "unreadable": float(point is None)}, said)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`; NaN for a kind without elements."""
        parts = {
            kind: lambda row, kind=kind: str(row.sample.metadata.get(self.kind)).lower() == kind
            for kind in _KINDS
        }
        kinds = means_of_parts(rows, "accuracy", parts)
        return {
            "accuracy": mean_score(rows, "accuracy"),
            **kinds,
            "unreadable": mean_score(rows, "unreadable"),
        }

    def _read(self, prediction: str) -> Point | None:
        if self.variant == _OFFICIAL:
            return points.read_screenspot_pro(prediction)
        return (points.read_click if self.variant == _VLMEVALKIT else points.read_lmms_eval)(prediction)

    def _relative(self, point: Point, size: Size) -> Point:
        if self.variant == _OFFICIAL:
            return point
        unit = self.unit if self.variant == "muster" else "guess"
        if unit == "thousandths":
            return Point(point.x / 1000, point.y / 1000)
        if unit == "pixels" or (unit == "guess" and (point.x > 1 or point.y > 1)):
            return Point(point.x / size.width, point.y / size.height)
        return point

    def _box(self, sample: Sample) -> Box | None:
        """The right box, relative to the picture."""
        numbers = numbers_of(sample.metadata.get("bbox"))
        if len(numbers) != len(NOWHERE):
            return None
        box, size = Box(*numbers), _size(sample)
        if self.variant == _VLMEVALKIT:
            return points.relative(Box(*(0.0 if edge == -1 else edge for edge in box)), size)
        if self.variant == _OFFICIAL:
            return points.relative(box, size)
        if self.benchmark == "pro":
            return box if box.right <= 1 and box.bottom <= 1 else points.relative(box, size)
        if all(0 <= edge <= 1 for edge in box) and box.right >= box.left and box.bottom >= box.top:
            return box
        if not (box.right > box.left and box.bottom > box.top):
            box = Box(box.left, box.top, box.left + box.right, box.top + box.bottom)
        return points.relative(box, size)


def numbers_of(value: JSON) -> list[float]:
    """A list of numbers, which some data has as text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return [float(number) for number in _NUMBER.findall(str(value))]
    listed = value if isinstance(value, list) else []
    return [float(each) for each in listed if isinstance(each, int | float)]


def _size(sample: Sample) -> Size:
    """Of the picture; 1 by 1 where it isn't known, so that everything counts as relative."""
    width, height = sample.metadata.get("width"), sample.metadata.get("height")
    if isinstance(width, int | float) and isinstance(height, int | float) and width > 0 and height > 0:
        return Size(float(width), float(height))
    return Size(1.0, 1.0)
