"""Boxes in answers: how each toolkit reads one, and how much two overlap."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Box(NamedTuple):
    """Left, top, right, bottom."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """Negative where exactly one pair of edges is swapped."""
        return (self.right - self.left) * (self.bottom - self.top)


class Size(NamedTuple):
    """Of an image, in pixels."""

    width: float
    height: float


NOWHERE = Box(0.0, 0.0, 0.0, 0.0)

_DECIMAL = r"(-?\d+(?:\.\d+)?)"
_LMMS_EVAL = re.compile(rf"\[\s*{_DECIMAL},\s*{_DECIMAL},\s*{_DECIMAL},\s*{_DECIMAL}\s*\]")
_NUMBER = r"[-+]?(?:\d++(?:\.\d++)?|\.\d++)(?:[eE][-+]?\d++)?"
_BETWEEN = r"(?:\s*,\s*|\s+)"
_VLMEVALKIT = re.compile(
    rf"\[\s*({_NUMBER}){_BETWEEN}({_NUMBER}){_BETWEEN}({_NUMBER}){_BETWEEN}({_NUMBER})\s*\]"
)
_ANY_NUMBER = re.compile(_NUMBER)
_RELATIVE_UP_TO = 1.5
_THOUSANDTHS_UP_TO = 1000


def read_internvl(text: str) -> Box:
    """The first four things in (double) brackets, if all are numbers."""
    found = _in_brackets(text)
    try:
        return Box(*map(float, found)) if found else NOWHERE
    except ValueError:
        return NOWHERE


def _in_brackets(text: str) -> list[str]:
    r"""The groups of the first match of InternVL's `\[*\[(.*?),(.*?),(.*?),(.*?)\]\]*`.

    Searching for that takes a power of the text's length.
    Where the first bracket of a line begins no match, no later one of that line does: it has fewer commas after it.
    """
    for line in text.split("\n"):
        parts = line[line.find("[") :].lstrip("[").split(",", 3) if "[" in line else []
        if len(parts) == len(NOWHERE) and "]" in parts[3]:
            return [*parts[:3], parts[3].partition("]")[0]]
    return []


def read_lmms_eval(text: str) -> Box:
    """The first four plain numbers in brackets, taken as relative to the image."""
    found = _LMMS_EVAL.search(text)
    return Box(*map(float, found.groups())) if found else NOWHERE


def read_vlmevalkit(text: str) -> Box | None:
    """The first four numbers in brackets, else the first four numbers anywhere."""
    found = _VLMEVALKIT.search(text)
    if found:
        return Box(*map(float, found.groups()))
    numbers = _ANY_NUMBER.findall(text)
    return Box(*map(float, numbers[:4])) if len(numbers) >= len(NOWHERE) else None


def to_pixels(box: Box, size: Size) -> Box:
    """VLMEvalKit's guess of the unit (relative, thousandths, pixels), clipped to the image, edges in order."""
    largest = max(map(abs, box))
    if largest <= _RELATIVE_UP_TO:
        horizontal, vertical = (
            [value * size.width for value in box[::2]],
            [value * size.height for value in box[1::2]],
        )
    elif largest <= _THOUSANDTHS_UP_TO:
        horizontal = [value / 1000.0 * size.width for value in box[::2]]
        vertical = [value / 1000.0 * size.height for value in box[1::2]]
    else:
        horizontal, vertical = list(box[::2]), list(box[1::2])
    left, right = sorted(min(max(value, 0.0), size.width) for value in horizontal)
    top, bottom = sorted(min(max(value, 0.0), size.height) for value in vertical)
    return Box(left, top, right, bottom)


def overlap(first: Box, second: Box) -> float:
    """Intersection over union in float64, areas as they are; 0.0 where the union has no area."""
    width = min(first.right, second.right) - max(first.left, second.left)
    height = min(first.bottom, second.bottom) - max(first.top, second.top)
    intersection = max(0.0, width) * max(0.0, height)
    union = first.area + second.area - intersection
    return intersection / union if union > 0 else 0.0


def overlap_internvl(box: Box, size: Size, answer: Box) -> float:
    """InternVL's: everything in float32, as thousandths where the numbers add up to 4 or more.

    Neither clipped nor put in order, so that the areas may be negative. NaN counts as no overlap.
    """
    import numpy as np

    with np.errstate(all="ignore"):
        said: NDArray[np.float32] = np.array(box, dtype=np.float32)
        if said.sum(dtype=np.float32) >= len(box):
            said = said / np.float32(1000)
        said[0::2] *= np.float32(size.width)
        said[1::2] *= np.float32(size.height)
        right = np.array(answer, dtype=np.float32)
        corner = np.maximum(said[:2], right[:2])
        sides = np.maximum(np.minimum(said[2:], right[2:]) - corner, np.float32(0))
        intersection = sides[0] * sides[1]
        union = _area(said) + _area(right) - intersection
        found = float(intersection / union)
    return found if np.isfinite(found) else 0.0


def _area(box: NDArray[np.float32]) -> np.float32:
    return (box[2] - box[0]) * (box[3] - box[1])  # type: ignore[no-any-return]
