"""Lists that a dataset stores as text, as JSON or as Python and numpy print them. Nothing is evaluated."""

from __future__ import annotations

import re

import msgspec

_ITEM = re.compile(
    r"""\s*(?:
        '(?P<single>[^'\\]*(?:\\.[^'\\]*)*)'
      | "(?P<double>[^"\\]*(?:\\.[^"\\]*)*)"
      | (?P<bare>[^\s,'"\[\]][^,'"\[\]]*?)
    )\s*(?P<end>,\s*\]$|,|\]$|(?(bare)(?!)|(?=['"])))""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_PLAIN = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "0": "\0", "\n": ""}


_NOTHING = frozenset({"None", "nan", "null", "NaN"})
"""Bare words of Python, pandas and JSON for no value."""
_ARRAY = re.compile(r"array\((?P<list>\[.*\])\s*(?:,\s*dtype=[^\[\]]*)?\)", re.DOTALL)
_NUMBERS = re.compile(r"\[\s*-?[\d.]+(?:e[+-]?\d+)?(?:\s+-?[\d.]+(?:e[+-]?\d+)?)*\s*\]")


def looks_like_list(text: str) -> bool:
    """Whether a text begins and ends as a list does: in brackets, a tuple of quoted texts, numpy's `array([…])`."""
    if text[:1] == "[":
        return text[-1:] == "]"
    return text[-1:] == ")" and text.startswith(("('", '("', "array(["))


def parse_list(text: str) -> list[object]:
    """The items of a list in a text: texts as they are, numbers and bare words as they are written, None for no value.

    JSON is taken as JSON, with nested lists and objects; of Python's and numpy's form only flat lists (tuples, arrays)
    of texts and numbers.

    Raises:
        ValueError: the text is no such list; says where it stops being one.
    """
    text = _in_brackets(text.strip())
    if not looks_like_list(text):
        raise ValueError("is not a list in brackets")
    if _NUMBERS.fullmatch(text):  # as numpy prints them: without commas
        text = f"[{', '.join(number.rstrip('.') for number in text[1:-1].split())}]"
    try:
        items: object = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return _python_list(text)
    if not isinstance(items, list):
        raise ValueError("is not a list in brackets")
    return items


def _in_brackets(text: str) -> str:
    """A tuple or an array as the list that it is."""
    if array := _ARRAY.fullmatch(text):
        return array["list"]
    return f"[{text[1:-1]}]" if text[:1] == "(" and looks_like_list(text) else text


def _python_list(text: str) -> list[object]:
    if not text[1:-1].strip():
        return []
    items: list[object] = []
    position = 1
    while match := _ITEM.match(text, position):
        quoted = match["single"] if match["single"] is not None else match["double"]
        bare = None if match["bare"] in _NOTHING else match["bare"]
        items.append(bare if quoted is None else _unescaped(quoted))
        position = match.end()
        if match["end"] not in (",", ""):
            return items
    rest = text[position : position + 20]
    raise ValueError(f"is not a list of quoted texts: it can't be read from {rest!r} on")


def _unescaped(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        code = match[1]
        if len(code) > 1:
            point = int(code[1:], 16)
            return chr(point) if point <= 0x10FFFF else match[0]
        return _PLAIN.get(code, code if code in "\\'\"" else match[0])

    return _ESCAPE.sub(character, text) if "\\" in text else text
