"""`--model-args extra_headers=…`: what a gateway wants beside the key. `env:VARIABLE` stands for that variable's value.

The values count as secrets: they are sent, and stand nowhere else (`results/redaction`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from muster.core import ConfigurationError

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, section 5.6.2."""
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
_FROM_ENVIRONMENT = re.compile(r"(?:^|(?<= ))env:([A-Za-z_][A-Za-z0-9_]*)$")
"""All of the value, or what follows a scheme: `Bearer env:TOKEN`."""
_OURS = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "proxy-authorization"}
)
AUTHORIZING = frozenset({"authorization", "x-api-key", "x-goog-api-key", "api-key"})
"""Headers that stand for a key."""


def read_headers(given: Mapping[str, Any]) -> dict[str, str]:
    """The headers, with values from the environment filled in.

    Raises:
        ConfigurationError: a variable isn't set, or something is no header. The message shows no value.
    """
    headers: dict[str, str] = {}
    for name, value in given.items():
        if not _NAME.fullmatch(name) or name.lower() in _OURS:
            raise ConfigurationError(f"--model-args extra_headers: {name!r} can't be set")
        if name.lower() in {each.lower() for each in headers}:
            raise ConfigurationError(f"--model-args extra_headers: {name} is given twice")
        if not isinstance(value, str | int | float):
            raise ConfigurationError(f"--model-args extra_headers.{name}: expected a text")
        written = str(value).lower() if isinstance(value, bool) else str(value)
        variable = _FROM_ENVIRONMENT.search(written)
        text = written[: variable.start()] + _variable(variable[1], name) if variable else written
        if not _VALUE.fullmatch(text):
            raise ConfigurationError(
                f"--model-args extra_headers.{name}: its value is empty or holds characters that no header has"
            )
        headers[name] = text
    return headers


def _variable(variable: str, name: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigurationError(
            f"--model-args extra_headers.{name}: the environment variable {variable} is not set"
        )
    return value


def authorizes(headers: Mapping[str, str]) -> bool:
    """Whether one of them stands for a key."""
    return any(name.lower() in AUTHORIZING for name in headers)


def secret_parts(headers: Mapping[str, str]) -> tuple[str, ...]:
    """What must not be shown of them, the longest first: values, and what follows a scheme as in `Bearer …`."""
    parts = {part for value in headers.values() for part in (value, value.rpartition(" ")[2])}
    return tuple(sorted((part for part in parts if len(part) >= 4), key=len, reverse=True))


def with_headers(headers: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """Both; `extra` stands in for those of the same name, whatever its letters' case."""
    replaced = {name.lower() for name in extra}
    return {**{name: value for name, value in headers.items() if name.lower() not in replaced}, **extra}
