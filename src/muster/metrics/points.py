r"""Points as models write them, and whether one lies in a box, a polygon or a mask.

Each reader follows one reference: lmms-eval's ScreenSpot and OSWorld-G tasks, VLMEvalKit's `pyautogui.click(x=…, y=…)`,
ScreenSpot-Pro's own for models with a chat API.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from muster.metrics.boxes import Box, Size

_NUMBER = r"(-?\d+(?:\.\d+)?%?)"
_TOKENS = re.compile(_NUMBER)
_BOX_TAG = re.compile(r"<\s*bbox", re.IGNORECASE)
_BOX_END = re.compile(r"<\s*/\s*bbox\s*>", re.IGNORECASE)
_PAIR = re.compile(rf"[\[\(]\s*{_NUMBER}(?:\s*,\s*|\s+){_NUMBER}\s*[\]\)]")
_X = re.compile(rf"['\"]?x['\"]?\s*[:=]\s*{_NUMBER}", re.IGNORECASE)
_Y = re.compile(rf"['\"]?y['\"]?\s*[:=]\s*{_NUMBER}", re.IGNORECASE)
_BOX_WORDS = ("bbox", "box", "rect")
_CLICK = re.compile(r"x=([\d.]+), y=([\d.]+)")
_DIGITS = r"(\d+\.\d+|\d+)"
_DOUBLE_BOX = re.compile(rf"\[\[{_DIGITS},{_DIGITS},{_DIGITS},{_DIGITS}\]\]")
_DOUBLE_POINT = re.compile(rf"\[\[{_DIGITS},{_DIGITS}\]\]")
_CORNERS = 4
_PERCENT = 100.0


class Point(NamedTuple):
    """In the unit in which it was written."""

    x: float
    y: float


def read_lmms_eval(text: str) -> Point | None:
    """The centre of a `<bbox>`, else the first pair in brackets, else x and y by name, else the first numbers.

    Of four numbers the centre, where the answer speaks of a box. Percent signs make hundredths.
    """
    tagged = _tagged_box(text)
    if tagged:
        return _centre(tagged)
    pair = _PAIR.search(text)
    if pair:
        return Point(_value(pair.group(1)), _value(pair.group(2)))
    named = _by_name(text)
    if named:
        return named
    numbers = _TOKENS.findall(text)
    if len(numbers) >= _CORNERS and any(word in text.lower() for word in _BOX_WORDS):
        return _centre(numbers)
    return Point(_value(numbers[0]), _value(numbers[1])) if len(numbers) >= 2 else None


def _tagged_box(text: str) -> list[str]:
    """The numbers between the first `<bbox>` and its end, if there are four."""
    tag = _BOX_TAG.search(text)
    start = text.find(">", tag.end()) if tag else -1
    end = _BOX_END.search(text, start) if start >= 0 else None
    numbers = _TOKENS.findall(text[start : end.start()]) if end else []
    return numbers if len(numbers) >= _CORNERS else []


def _by_name(text: str) -> Point | None:
    """The first x that has a y after it, and that y."""
    x = _X.search(text)
    y = _Y.search(text, x.end()) if x else None
    return Point(_value(x.group(1)), _value(y.group(1))) if x and y else None


def _centre(numbers: Sequence[str]) -> Point:
    left, top, right, bottom = map(_value, numbers[:_CORNERS])
    return Point((left + right) / 2.0, (top + bottom) / 2.0)


def _value(token: str) -> float:
    return float(token[:-1]) / _PERCENT if token.endswith("%") else float(token)


def read_click(text: str) -> Point | None:
    """`x=…, y=…` of a pyautogui call; the origin without one, None where a number can't be read ("1.2.3")."""
    found = _CLICK.search(text)
    try:
        return Point(float(found.group(1)), float(found.group(2))) if found else Point(0.0, 0.0)
    except ValueError:
        return None


def read_screenspot_pro(text: str) -> Point | None:
    """The first `[[x,y]]`, else the centre of the first `[[x0,y0,x1,y1]]`, without blanks."""
    point, box = _DOUBLE_POINT.search(text), _DOUBLE_BOX.search(text)
    if point:
        return Point(float(point.group(1)), float(point.group(2)))
    return _centre(box.groups()) if box else None


def in_box(point: Point, box: Box) -> bool:
    """Edges included."""
    return box.left <= point.x <= box.right and box.top <= point.y <= box.bottom


def in_polygon(point: Point, corners: Sequence[float]) -> bool:
    """By the even-odd rule; `corners` are x, y, x, y …; four numbers are a box, in whatever order."""
    if len(corners) == _CORNERS:
        (left, right), (top, bottom) = sorted(corners[0::2]), sorted(corners[1::2])
        return in_box(point, Box(left, top, right, bottom))
    if len(corners) % 2 or len(corners) < 6:
        return False
    inside = False
    pairs = list(zip(corners[0::2], corners[1::2], strict=True))
    for (x, y), (other_x, other_y) in zip(pairs, [pairs[-1], *pairs[:-1]], strict=True):
        if (y > point.y) != (other_y > point.y):
            crossing = (other_x - x) * (point.y - y) / (other_y - y) + x
            inside ^= point.x < crossing
    return inside


def relative(box: Box, size: Size) -> Box:
    """A box in pixels as shares of the image."""
    return Box(box.left / size.width, box.top / size.height, box.right / size.width, box.bottom / size.height)
