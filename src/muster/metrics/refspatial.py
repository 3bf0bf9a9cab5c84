"""RefSpatial-Bench (Zhou et al. 2025): points that have to lie in the mask of what is meant.

Source: the authors' `summarize_acc.py` (`official`), which reads each model family's own notation; `notation` says
which. Answers that stop their reader aren't counted there; here they score 0. The variant `muster` reads `point_2d`
and `point` of JSON, else pairs in brackets, in the unit of the numbers: up to 1 shares, up to 1,000 thousandths (of
JSON, as Qwen3-VL and Gemini write them), else pixels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, NamedTuple

from muster.core import Sample
from muster.metrics.averages import mean_score
from muster.metrics.boxes import Size
from muster.metrics.masks import Mask, read_mask
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.variants import VariantMetric

Notation = Literal["tuples", "pixels", "xml", "json"]
_NUMBER = r"[-+]?\d+(?:\.\d*)?"
_TUPLE = re.compile(rf"\(({_NUMBER}(?:,\s*{_NUMBER})*)\)")
_PAIR = re.compile(rf"[\[(]\s*({_NUMBER})\s*,\s*({_NUMBER})\s*[\])]")
_XML = re.compile(r"x\d+=\"(-?\d+(?:\.\d*)?)\"\s+y\d+=\"(-?\d+(?:\.\d*)?)\"")
_FENCE = re.compile(r"```\w*\n")
_THOUSAND = 1000


class _Area(NamedTuple):
    """Pixels from left and top up to right and bottom, which aren't in it."""

    left: int
    top: int
    right: int
    bottom: int


def _pixel(x: float, y: float) -> _Area:
    return _Area(int(x), int(y), int(x) + 1, int(y) + 1)


@dataclass(frozen=True, kw_only=True)
class RefSpatial(VariantMetric):
    """`accuracy`: of an answer, the share of its points that lie in the mask; 0 without points.

    Metadata key: `mask`, run lengths.
    """

    name: ClassVar[str] = "refspatial"
    variants: ClassVar[tuple[str, ...]] = ("muster", "official")

    variant: str = "muster"
    notation: Notation = "tuples"

    @cached_property
    def info(self) -> MetricInfo:
        """0-1."""
        return self._described("accuracy", {"accuracy": "0-1"}, {"accuracy": "accuracy"})

    def has_reference(self, sample: Sample) -> bool:
        """Whether there is a mask."""
        return read_mask(sample.metadata.get("mask")) is not None

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 to 1; `extracted` are the first points, in pixels."""
        mask = read_mask(sample.metadata.get("mask"))
        if mask is None:
            return Score({"accuracy": 0.0}, None)
        read = _any_notation if self.variant == "muster" else _NOTATIONS[self.notation]
        try:
            areas = list(read(prediction, mask.size))
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            areas = []
        shown = ", ".join(f"({area.left}, {area.top})" for area in areas[:8])
        return Score({"accuracy": _share(mask, areas)}, shown or None)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """The mean."""
        return {"accuracy": mean_score(rows, "accuracy")}


def _share(mask: Mask, areas: list[_Area]) -> float:
    shares = [mask.share_of_box(*area) for area in areas]
    pixels = sum(whole for _, whole in shares)
    return sum(inside for inside, _ in shares) / pixels if pixels else 0.0


def _numbers(text: str) -> list[float]:
    """Whole numbers stay whole: the authors tell by that what is a share."""
    return [float(each) if "." in each else int(each) for each in text.split(",")]


def _tuples(text: str, size: Size) -> Iterator[_Area]:
    for found in _TUPLE.findall(text):
        numbers = _numbers(found)
        if len(numbers) == 2:
            x, y = numbers
            yield _pixel(x * size.width, y * size.height) if "." in found else _pixel(x, y)
        elif len(numbers) == 4:
            left, top, right, bottom = numbers
            yield _box(
                int(left * size.width),
                int(top * size.height),
                int(right * size.width),
                int(bottom * size.height),
            )


def _pixels(text: str, _size: Size) -> Iterator[_Area]:
    for found in _TUPLE.findall(text):
        numbers = _numbers(found)
        if len(numbers) == 2:
            yield _pixel(*numbers)
        elif len(numbers) == 4:
            yield _box(*map(int, numbers))


def _box(left: int, top: int, right: int, bottom: int) -> _Area:
    if right < left or bottom < top:
        raise ValueError("a box whose edges are swapped")
    return _Area(left, top, right, bottom)


def _xml(text: str, size: Size) -> Iterator[_Area]:
    for x, y in _XML.findall(text):
        yield _pixel(float(x) / 100 * size.width, float(y) / 100 * size.height)


def _json(text: str, size: Size) -> Iterator[_Area]:
    """Gemini's: y before x, in thousandths, in a fenced block."""
    listed = json.loads(_fenced(text) or "[]")
    for item in listed if isinstance(listed, list) else ():
        point = item.get("point")
        if isinstance(point, list) and len(point) == 2:
            y, x = point
            yield _pixel(x / _THOUSAND * size.width, y / _THOUSAND * size.height)


_NOTATIONS: Mapping[Notation, Callable[[str, Size], Iterator[_Area]]] = {
    "tuples": _tuples,
    "pixels": _pixels,
    "xml": _xml,
    "json": _json,
}


def _fenced(text: str) -> str | None:
    begin = _FENCE.search(text)
    end = text.find("```", begin.end()) if begin else -1
    return text[begin.end() : end].strip() if begin and end >= 0 else None


def _items(text: str) -> list[dict[str, object]]:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return []
    listed = value if isinstance(value, list) else [value]
    return [each for each in listed if isinstance(each, dict)]


def _any_notation(text: str, size: Size) -> Iterator[_Area]:
    points = []
    for item in _items(_fenced(text) or text.strip()):
        point = item.get("point_2d", item.get("point"))
        if (
            isinstance(point, list)
            and len(point) == 2
            and all(isinstance(each, int | float) for each in point)
        ):
            points.append((point[0], point[1]) if "point_2d" in item else (point[1], point[0]))
    limit = _THOUSAND
    if not points:
        limit = 0
        points = [(float(x), float(y)) for x, y in _PAIR.findall(text)]
    for x, y in points:
        largest = max(abs(x), abs(y))
        unit = 1 if largest <= 1 else _THOUSAND if largest <= limit else 0
        yield _pixel(x / unit * size.width, y / unit * size.height) if unit else _pixel(x, y)
