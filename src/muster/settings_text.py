"""Settings as they are typed behind one option: `--model-args dtype=bfloat16,device_map=auto`."""

from __future__ import annotations

import json

from muster.core import JSON


def parse_model_args(text: str) -> dict[str, JSON]:
    """`k=v,k=v` with values read as JSON where they are JSON, else as text; or one JSON object.

    Raises:
        ValueError: a part without `=`.
    """
    if text.lstrip().startswith("{"):
        parsed = json.loads(text)
        if not isinstance(parsed, dict):
            raise ValueError("must be k=v,k=v or a JSON object")
        return parsed
    args: dict[str, JSON] = {}
    for part in _split(text):
        name, separator, value = part.partition("=")
        if not separator or not name.strip():
            raise ValueError(f"{part!r} is not of the form name=value")
        args[name.strip()] = _value(value.strip())
    return _with_headers(args)


def _with_headers(args: dict[str, JSON]) -> dict[str, JSON]:
    """`extra_headers.NAME=value` as what it is short for, `extra_headers={"NAME": "value"}`."""
    prefix = "extra_headers."
    named: dict[str, JSON] = {
        name.removeprefix(prefix): args.pop(name) for name in list(args) if name.startswith(prefix)
    }
    if named:
        together = args.get("extra_headers")
        args["extra_headers"] = {**(together if isinstance(together, dict) else {}), **named}
    return args


def _split(text: str) -> list[str]:
    """At commas outside brackets and braces."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [part for part in [*parts, text[start:]] if part.strip()]


def _value(text: str) -> JSON:
    words: dict[str, JSON] = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    try:
        value: JSON = json.loads(text)
    except ValueError:
        return text
    return value
