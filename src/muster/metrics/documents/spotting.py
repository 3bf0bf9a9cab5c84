"""Words in boxes: found where they are, and read as they are (ICDAR's end-to-end protocol, IoU above 0.5).

Source: OCRBench v2's `spotting_metric`, which runs the Robust Reading Competition's script on one image. Of a word that
is given as ### nothing is expected, and what lies on it isn't counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from muster.metrics.averages import ratio
from muster.metrics.boxes import Box
from muster.metrics.documents.written_values import literal

_OVERLAP = 0.5
_MOST = 1000
_BETWEEN_BRACKETS = re.compile(r"[\[(]([^\[\]()]*)[\])]")
_LINE = re.compile(r"\s*\"(.*)\"\s*$")
_ANYWAY = "!?.:,*\"()·[]/'"
"""What may be missing at either end of a right reading."""
_UNREADABLE = "###"


class Word(NamedTuple):
    """Where it is, in thousandths, and what it says."""

    box: Box
    text: str


def read_words(text: str) -> list[Word]:
    """The boxes with words of an answer: of a list in Python's notation, else of whatever stands in brackets."""
    value = literal(text)
    if value is None:
        items = [found.strip().split(",", 4) for found in _BETWEEN_BRACKETS.findall(text)]
    else:
        listed = value if isinstance(value, list | tuple) else ()
        items = [list(map(str, item[:5])) for item in listed if isinstance(item, list | tuple)]
    words = (_word(item) for item in items if len(item) >= 5)
    return list(dict.fromkeys(word for word in words if word is not None))


def _word(parts: Sequence[str]) -> Word | None:
    try:
        corners = [int(part.strip()) for part in parts[:4]]
    except ValueError:
        return None
    if not all(0 <= corner <= _MOST for corner in corners):
        return None
    return Word(Box(*corners), parts[4].replace("\n", "").strip().strip('"').strip("'"))


def spotting_score(predicted: Sequence[Word], truth: Sequence[Word]) -> float:
    """The harmonic mean of precision and recall, 0-1."""
    found = [_as_in_a_file(each) for each in predicted if _is_proper(each.box)]
    wanted = [_as_in_a_file(each) for each in truth]
    if not found or not wanted:
        return 0.0
    unreadable = [each.box for each in wanted if each.text == _UNREADABLE]
    wanted = [each for each in wanted if each.text != _UNREADABLE]
    found = [each for each in found if not any(_lies_on(each.box, box) for box in unreadable)]
    free = list(found)
    right = 0
    for each in wanted:
        match = next((other for other in free if _iou(each.box, other.box) > _OVERLAP), None)
        if match is not None:
            free.remove(match)
            right += _says(each.text.upper(), match.text.upper())
    recall, precision = ratio(right, len(wanted)), ratio(right, len(found))
    return ratio(2 * recall * precision, recall + precision)


def _is_proper(box: Box) -> bool:
    return box.left < box.right and box.top < box.bottom


def _as_in_a_file(word: Word) -> Word:
    """The protocol writes a word to a line of a file; quotation marks around it are taken for the file's."""
    text = word.text.replace("\r", "")
    quoted = _LINE.match(text)
    return word._replace(text=quoted.group(1).replace("\\\\", "\\").replace('\\"', '"') if quoted else text)


def _shared(first: Box, second: Box) -> float:
    width = min(first.right, second.right) - max(first.left, second.left)
    height = min(first.bottom, second.bottom) - max(first.top, second.top)
    return max(width, 0) * max(height, 0)


def _iou(first: Box, second: Box) -> float:
    shared = _shared(first, second)
    return ratio(shared, first.area + second.area - shared)


def _lies_on(box: Box, other: Box) -> bool:
    return ratio(_shared(box, other), box.area) > _OVERLAP


def _says(truth: str, predicted: str) -> bool:
    if truth == predicted:
        return True
    first, last = truth[:1] in _ANYWAY, truth[-1:] in _ANYWAY
    return bool(truth) and (
        (first and truth[1:] == predicted)
        or (last and truth[:-1] == predicted)
        or (first and last and truth[1:-1] == predicted)
    )
