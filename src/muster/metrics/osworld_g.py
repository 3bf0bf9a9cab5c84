"""OSWorld-G (Xie et al. 2025): a click has to land in a box or a polygon, or there is nothing to click.

Source: lmms-eval's task, whose prompt asks for [-1, -1] where the element doesn't exist; the variant `muster` also
takes such a refusal in words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from muster.core import Sample
from muster.metrics import points
from muster.metrics.averages import mean_score
from muster.metrics.boxes import Box
from muster.metrics.points import Point
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.screenspot import numbers_of
from muster.metrics.split_means import means_of_parts
from muster.metrics.variants import VariantMetric

_REFUSAL = "refusal"
_KINDS = ("bbox", "polygon", _REFUSAL)
_IN_WORDS = re.compile(
    r"\b(?:does ?n['’]?o?t|not?|is ?n['’]?o?t) (?:\w+ ){0,2}?(?:exist|present|visible|found|such|shown|there)"
    r"|cannot be found|\brefus",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class OsWorldG(VariantMetric):
    """`accuracy`, and the same of targets that are a `bbox`, a `polygon`, or a `refusal`.

    Metadata keys: `box_type`, which of the three; `coordinates`, the box as left, top, width, height, or the polygon as
    x, y, x, y …, in pixels; `size`, the picture's width and height. Points from 0 to 1 are taken for relative.
    """

    name: ClassVar[str] = "osworld_g"
    variants: ClassVar[tuple[str, ...]] = ("muster", "lmms-eval")

    variant: str = "muster"

    @cached_property
    def info(self) -> MetricInfo:
        """All 0-1."""
        return self._described(
            "accuracy", dict.fromkeys(("accuracy", *_KINDS), "0-1"), {"accuracy": "accuracy"}
        )

    def has_reference(self, sample: Sample) -> bool:
        """Whether the target is known."""
        return str(sample.metadata.get("box_type")).lower() in _KINDS

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is the point, or the refusal."""
        point = points.read_lmms_eval(prediction)
        kind = str(sample.metadata.get("box_type")).lower()
        if point is None:
            refused = self.variant == "muster" and bool(_IN_WORDS.search(prediction))
            return Score({"accuracy": float(refused and kind == _REFUSAL)}, _REFUSAL if refused else None)
        pixel = _in_pixels(point, numbers_of(sample.metadata.get("size")))
        corners = numbers_of(sample.metadata.get("coordinates"))
        if kind == _REFUSAL:
            hit = pixel.x < 0 and pixel.y < 0
        elif kind == "bbox" and len(corners) == 4:
            left, top, width, height = corners
            hit = points.in_box(pixel, Box(left, top, left + width, top + height))
        else:
            hit = kind == "polygon" and points.in_polygon(pixel, corners)
        return Score({"accuracy": float(hit)}, f"{point.x:g}, {point.y:g}")

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`; NaN for a kind of target that there isn't."""
        parts = {
            kind: lambda row, kind=kind: str(row.sample.metadata.get("box_type")).lower() == kind
            for kind in _KINDS
        }
        return {"accuracy": mean_score(rows, "accuracy"), **means_of_parts(rows, "accuracy", parts)}


def _in_pixels(point: Point, size: Sequence[float]) -> Point:
    if len(size) == 2 and 0 <= point.x <= 1 and 0 <= point.y <= 1:
        return Point(point.x * size[0], point.y * size[1])
    return point
