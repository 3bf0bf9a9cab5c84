"""Keys and values that a model wrote as JSON, in Python's notation, or line by line. Nothing is evaluated.

Source: OCRBench v2's `convert_str_to_dict`, `convert_str_to_multi_dict` and `generate_combinations`.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Mapping
from itertools import product

_FENCE = re.compile(r"```(?:python|json)?\n", re.IGNORECASE)
_FENCE_END = "\n```"
_WORDS = re.compile(r"[\w\s]+")
_COLON = re.compile(r"[\"']?\s*[:=]")
_VALUE = re.compile(r"[:=]\s*[\"']?([^\n,\"'{}]+)[\"']?")
_ASSIGNED = re.compile(r"^\s*\w+\s*=\s*")
_COMMENT = re.compile("#.*")
_UNREADABLE = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


def literal(text: str) -> object:
    """The value of Python's literal; None where it is none, or None itself."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python doesn't know
            value: object = ast.literal_eval(text)
    except _UNREADABLE:
        return None
    return value


def read_fields(text: str) -> dict[str, str]:
    """Keys and values as texts, of the first fenced block or of everything; empty where there are none."""
    blocks = _fenced(text, 1)
    content = blocks[0] if blocks else text.strip()
    data = _json(content)
    if data is None:
        value = literal(content)
        data = _pairs(content) if value is None else value
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        return {}
    return {key.strip(): str(value).strip() for key, value in data.items()}


def _json(text: str) -> object:
    """None where it is no JSON; an empty object for null, from which nothing can be read either."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return {} if value is None else value


def read_nested(text: str) -> dict[object, object]:
    """The dictionary of the longest fenced block, or of everything up to the last brace; empty where there is none."""
    blocks = _fenced(text)
    content = max(blocks, key=len) if blocks else text.strip()
    content = _COMMENT.sub("", _ASSIGNED.sub("", content.strip(), count=1))
    content = content[: content.rfind("}") + 1] or content
    value = literal(content)
    return value if isinstance(value, dict) else {}


def field_choices(answer: str) -> list[dict[str, str]]:
    """What is right for each key, in every combination of accepted readings; none where it isn't readable."""
    text = answer.strip('"')
    value = _json(text)
    if not isinstance(value, dict):
        value = literal(text)
    if isinstance(value, str):
        value = literal(value)
    if not isinstance(value, dict):
        return []
    lists = [each if isinstance(each, list) else [each] for each in value.values()]
    return [dict(zip(map(str, value), map(str, readings), strict=True)) for readings in product(*lists)]


def fields_f1(predicted: Mapping[str, str], truth: Mapping[str, str]) -> float:
    """The share of keys, of either side, whose values are equal without blanks and case; 0-1."""
    keys = {**predicted, **truth}
    if not keys:
        return 0.0
    same = (
        key in predicted and key in truth and _plain(predicted[key]) == _plain(truth[key]) for key in keys
    )
    return sum(map(float, same)) / len(keys)


def _plain(text: str) -> str:
    return text.lower().strip().replace("\n", " ").replace(" ", "")


def _fenced(text: str, most: int | None = None) -> list[str]:
    """What stands in fenced blocks, in time that grows with the text."""
    blocks: list[str] = []
    begin = _FENCE.search(text)
    while begin and (most is None or len(blocks) < most):
        end = text.find(_FENCE_END, begin.end())
        if end < 0:
            break
        blocks.append(text[begin.end() : end])
        begin = _FENCE.search(text, end + len(_FENCE_END))
    return blocks


def _pairs(text: str) -> dict[str, str]:
    """`key: value` or `key = value`, with or without quotation marks, in time that grows with the text."""
    pairs: dict[str, str] = {}
    place = 0
    while words := _WORDS.search(text, place):
        colon = _COLON.match(text, words.end())
        value = _VALUE.match(text, colon.end() - 1) if colon else None
        if value:
            pairs[words.group().strip()] = value.group(1).strip()
        place = value.end() if value else words.end()
    return pairs
