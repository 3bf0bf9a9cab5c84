"""Key information of CC-OCR: JSON objects compared field by field, and as trees (nTED), after Donut's evaluation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from muster.metrics.documents.edit_distance import distance
from muster.metrics.documents.tree_distance import Postorder, Tree, tree_edit_distance

_FENCED = re.compile(r"```json(.*?)```", re.DOTALL)
_LEAF = "<leaf>"
_FULL_WIDTH = str.maketrans(
    "".join(map(chr, range(0xFF01, 0xFF5F))) + "\u3000、", "".join(map(chr, range(0x21, 0x7F))) + " ,"
)
_SPACING = [
    (re.compile(r"(?<=[\u4e00-\u9fff])\s+(?=[\u4e00-\u9fff])"), ""),
    (re.compile(r"(?<=[\u4e00-\u9fff])\s+(?=[a-zA-Z0-9])"), ""),
    (re.compile(r"(?<=[a-zA-Z0-9])\s+(?=[\u4e00-\u9fff])"), ""),
    (re.compile(r"(?<![0-9])\s*([,.!?:;])\s*"), r"\1 "),
    (re.compile(r"(?<=[0-9])(?=[a-zA-Z])"), " "),
    (re.compile(r"(?<=[a-zA-Z])(?=[0-9])"), " "),
    (re.compile(r"\s+"), " "),
]


class FieldScores(NamedTuple):
    """What an answer's fields are worth."""

    accuracy: float
    """1 - tree edit distance / that of nothing, at least 0."""
    right: int
    wrong: int
    """Fields that are only on one side."""


def read_json(text: str) -> object:
    """What an answer says in its fenced block, else as a whole; None where that is no JSON."""
    found = _FENCED.search(text)
    if "```json" in text and found is None:
        return None
    content = found.group(1) if found else text
    try:
        value: object = json.loads(content.strip().replace("\n", ""))
    except (ValueError, RecursionError):
        return None
    return value


def field_scores(predicted: object, truth: object) -> FieldScores:
    """The fields of an answer against the right ones; an answer that is None has no fields."""
    said = _sorted(_spelled({} if predicted is None else predicted))
    right = _sorted(_spelled(truth))
    left = _flat(right)
    hits = misses = 0
    for each in _flat(said):
        if each in left:
            left.remove(each)
            hits += 1
        else:
            misses += 1
    return FieldScores(_accuracy(said, right), hits, misses + len(left))


def _spelled(value: object) -> object:
    """Texts in half-width characters and with blanks as in English; texts in lists stay as they are."""
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_spelled(item) if isinstance(item, dict) else item for item in value]
    if not isinstance(value, str):
        return value
    text = value.translate(_FULL_WIDTH)
    for pattern, replacement in _SPACING:
        text = pattern.sub(replacement, text)
    return text


def _sorted(value: object) -> dict[str, object] | list[object]:
    """Keys by length and alphabet, every value a list of texts or of objects, empty ones left out."""
    if isinstance(value, dict):
        fields: dict[str, object] = {}
        for key in sorted(value, key=lambda key: (len(key), key)):
            if item := _sorted(value[key]):
                fields[key] = item if isinstance(item, list) else [item]
        return fields
    if not isinstance(value, list):
        return [str(value).strip()]
    if all(isinstance(item, dict) for item in value):
        return [item for item in map(_sorted, value) if item]
    texts = (str(item).strip() for item in value if type(item) in {str, int, float})
    return [text for text in texts if text]


def _flat(value: object, key: str = "") -> list[tuple[str, object]]:
    if isinstance(value, dict):
        return [
            pair for name, item in value.items() for pair in _flat(item, f"{key}.{name}" if key else name)
        ]
    if isinstance(value, list):
        return [pair for item in value for pair in _flat(item, key)]
    return [(key, value)]


def _accuracy(said: object, right: object) -> float:
    truth = Postorder(_tree("<root>", right))
    whole = tree_edit_distance(Postorder(Tree("<root>")), truth, _alone, _change)
    if not whole:
        return 0.0
    edits = tree_edit_distance(Postorder(_tree("<root>", said)), truth, _alone, _change)
    return max(0.0, 1 - edits / whole)


def _tree(name: str, value: object) -> Tree:
    if isinstance(value, Mapping):
        return Tree(name, [_tree(key, item) for key, item in value.items()])
    items = value if isinstance(value, list) else []
    if all(isinstance(item, dict) for item in items):
        return Tree(name, [_tree("<subtree>", item) for item in items])
    return Tree(name, [Tree(f"{_LEAF}{item}") for item in items])


def _alone(label: str) -> int:
    return len(label.replace(_LEAF, "")) if _LEAF in label else 1


def _change(first: str, second: str) -> int:
    leaves = _LEAF in first, _LEAF in second
    if all(leaves):
        return distance(first.replace(_LEAF, ""), second.replace(_LEAF, ""))
    if any(leaves):
        return 1 + len((first if leaves[0] else second).replace(_LEAF, ""))
    return int(first != second)
