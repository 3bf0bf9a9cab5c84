"""Keeps secrets out of what is written down: values by the name of their key, credentials in addresses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from muster.core import JSON

REDACTED = "***"

_SECRET_WORDS = frozenset(
    {"key", "apikey", "token", "accesstoken", "secret", "password", "passwd", "passphrase", "credential"}
    | {"credentials", "authorization", "cookie"}
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_URL_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[^\s,;\"']+")
_KNOWN_SHAPES = re.compile(r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[opsu]_[A-Za-z0-9]{16,})")
_NAME = re.compile(r"([A-Za-z][\w.-]*)[\"']?\s*(?:=|:(?!//))\s*")
_VALUE = re.compile(r"\"[^\"]*\"|'[^']*'|[^\s,&;}\"']+")


HEADERS = "extra_headers"
"""An argument whose values are secrets, whatever their names; `env:VARIABLE` names one and is none."""
_ALL_HEADERS = re.compile(rf"({HEADERS}[\"']?\s*[=:]\s*)\{{[^}}]*(?:\}}|$)")
_ONE_HEADER = re.compile(rf"({HEADERS}\.[\w.-]+\s*=\s*)(?!env:)[^,]+")


def is_secret_name(name: str) -> bool:
    """Whether a setting of this name holds a secret: `api_key`, `hf-token`; not `max_new_tokens`, `tokenizer`."""
    words = re.split(r"[^a-z0-9]+", _CAMEL.sub("_", name).lower())
    return not _SECRET_WORDS.isdisjoint(words)


def redact_text(text: str) -> str:
    """`text` without credentials in addresses, `name=value` secrets and tokens of well-known shapes."""
    text = _URL_CREDENTIALS.sub(f"{REDACTED}@", text)
    text = _ALL_HEADERS.sub(rf"\1{REDACTED}", text)
    text = _ONE_HEADER.sub(rf"\1{REDACTED}", text)
    text = _BEARER.sub(rf"\1 {REDACTED}", text)
    text = _KNOWN_SHAPES.sub(REDACTED, text)
    shown, end = "", 0
    for name in _NAME.finditer(text):
        if name.start() < end or not is_secret_name(name[1]):
            continue
        if value := _VALUE.match(text, name.end()):
            shown += text[end : name.end()] + REDACTED
            end = value.end()
    return shown + text[end:]


def redact(value: JSON) -> JSON:
    """The same structure with its secrets replaced by `***`."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return redact_settings(value)
    if isinstance(value, list):
        return [redact(item) for item in value]
    return value


def redact_settings(settings: Mapping[str, JSON]) -> dict[str, JSON]:
    """Settings with the values of secret names replaced; an unset one stays unset."""
    return {name: _redact_setting(name, value) for name, value in settings.items()}


def _redact_setting(name: str, value: JSON) -> JSON:
    if name == HEADERS and isinstance(value, dict):
        return {header: each if str(each).startswith("env:") else REDACTED for header, each in value.items()}
    return REDACTED if value is not None and (is_secret_name(name) or name == HEADERS) else redact(value)


def redact_command(arguments: Sequence[str]) -> list[str]:
    """A command line without its secrets, `--api-key VALUE` in two arguments included."""
    shown: list[str] = []
    hide_next = False
    for argument in arguments:
        is_option = argument.startswith("--")
        shown.append(REDACTED if hide_next and not is_option else redact_text(argument))
        hide_next = is_option and "=" not in argument and is_secret_name(argument)
    return shown
