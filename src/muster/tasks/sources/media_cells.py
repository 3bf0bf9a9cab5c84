"""An image or video as a data file names it: a path, a data URI, a URL, or its bytes."""

from __future__ import annotations

import base64
import binascii
import os.path
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

from muster.core import Media, MediaKind
from muster.tasks.problems import shown
from muster.tasks.yaml_lines import as_mapping

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_BARE_BASE64 = re.compile(r"(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR)[A-Za-z0-9+/\s]{60,}={0,2}\s*")
"""JPEG, PNG, GIF or WebP without a data URI's head, as in VLMEvalKit's TSV files."""


def read_media(kind: MediaKind, value: object, folder: Path, allow_urls: bool) -> Media:
    """One image or video. Paths are taken from `folder`; whether the file exists isn't looked at.

    Raises:
        ValueError: `value` names no image or video; the message says why.
    """
    if isinstance(value, bytes):
        return _from_bytes(kind, value)
    if isinstance(value, str) and value:
        return _from_text(kind, value, folder, allow_urls)
    cell = as_mapping(value)
    if cell is not None and cell.keys() == {"bytes", "path"}:  # how Hugging Face datasets store one
        content = cell["bytes"] if cell["bytes"] is not None else cell["path"]
        if isinstance(content, bytes | str) and content:
            return read_media(kind, content, folder, allow_urls)
    raise ValueError(f"{shown(value)} is neither a path, a data URI, a URL nor an {kind}'s bytes")


def _from_bytes(kind: MediaKind, value: bytes) -> Media:
    if not value:
        raise ValueError(f"the {kind} has no bytes")
    return Media(kind, data=value)


def _from_text(kind: MediaKind, value: str, folder: Path, allow_urls: bool) -> Media:
    if value.startswith("data:"):
        return _from_bytes(kind, _decode_data_uri(value))
    if _BARE_BASE64.fullmatch(value):
        return _from_bytes(kind, _decode_base64(value))
    if scheme := _SCHEME.match(value):
        if scheme[1].lower() not in {"http", "https"}:
            raise ValueError(f"{shown(value)}: only http and https addresses can be fetched")
        if not allow_urls:
            raise ValueError(f"{shown(value)} is a URL; write `allow_urls: true` under `source:` to fetch it")
        return Media(kind, url=value)
    if "\0" in value:
        raise ValueError(f"{shown(value)} isn't a path")
    return Media(kind, path=os.path.abspath(folder / value))  # noqa: PTH100 - resolve() would follow links


def _decode_data_uri(value: str) -> bytes:
    head, comma, body = value.partition(",")
    if not comma:
        raise ValueError(f"{shown(value)}: a data URI without a comma")
    return _decode_base64(body) if head.endswith(";base64") else unquote_to_bytes(body)


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(f"{shown(text)} isn't base64: {error}") from error
