"""Masks of pixels in a sample's metadata, and how many of some pixels belong to one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from muster.core import JSON
from muster.metrics.boxes import Size


@dataclass(frozen=True, slots=True)
class Mask:
    """Which pixels of a picture are meant, as COCO's uncompressed run lengths by columns."""

    size: Size
    ends: Sequence[int]
    """Where each run ends; the first is outside of the mask."""
    before: Sequence[int]
    """How many pixels of the mask lie in the runs before each run."""

    def share_of_box(self, left: int, top: int, right: int, bottom: int) -> tuple[int, int]:
        """How many pixels of a box belong to it, and how many the box has; right and bottom aren't in the box.

        No pixel outside of the picture belongs to it.
        """
        height = int(self.size.height)
        first, last = max(top, 0), min(bottom, height)
        columns = range(max(left, 0), min(right, int(self.size.width))) if first < last else ()
        inside = sum(self._up_to(x * height + last) - self._up_to(x * height + first) for x in columns)
        return inside, max(right - left, 0) * max(bottom - top, 0)

    def _up_to(self, place: int) -> int:
        """Pixels of the mask before the pixel of this number, by columns."""
        run = bisect_right(self.ends, place)
        if run >= len(self.ends):
            return self.before[-1]
        return self.before[run] + (place - self.ends[run - 1] if run % 2 else 0)


def read_mask(value: JSON) -> Mask | None:
    """A mask as `source.fields.metadata: {name: {mask: column}}` makes one; None for anything else."""
    size, counts = (value.get("size"), value.get("counts")) if isinstance(value, dict) else (None, None)
    sides, runs = _whole_numbers(size), _whole_numbers(counts)
    if sides is None or runs is None or len(sides) != 2:
        return None
    before = accumulate((count if run % 2 else 0 for run, count in enumerate(runs)), initial=0)
    return Mask(Size(sides[1], sides[0]), list(accumulate(runs)), list(before))


def _whole_numbers(value: JSON) -> list[int] | None:
    if not isinstance(value, list):
        return None
    numbers = [each for each in value if isinstance(each, int) and each >= 0]
    return numbers if len(numbers) == len(value) else None
