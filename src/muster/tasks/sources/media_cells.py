"""An image or video as a data file names it: a path, a data URI, a URL, or its bytes."""

from __future__ import annotations

import base64
import binascii
import os.path
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

from muster.core import Extent, Media, MediaKind
from muster.media.gate import ADVICE, may_name
from muster.tasks.problems import shown
from muster.tasks.sources.absent import absent
from muster.tasks.yaml_lines import as_mapping

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_BARE_BASE64 = re.compile(r"(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR)[A-Za-z0-9+/\s]{60,}={0,2}\s*")
"""JPEG, PNG, GIF or WebP without a data URI's head, as in VLMEvalKit's TSV files."""


@dataclass(frozen=True, slots=True)
class MediaPlace:
    """What the paths and addresses of a data file may lead to."""

    folder: Path
    """Where paths are taken from."""
    allow_urls: bool = False
    within: tuple[str, ...] = ()
    """Folders of which one must hold what a path names: data has no business elsewhere."""
    confined: bool = False
    """Whether a path out of them is a mistake of its row: data that was downloaded. The rest is told before a run."""


def read_media(kind: MediaKind, value: object, place: MediaPlace) -> Media:
    """One image or video. Whether a path's file exists isn't looked at.

    Raises:
        ValueError: `value` names no image or video; the message says why.
    """
    if isinstance(value, bytes):
        return _from_bytes(kind, value)
    if isinstance(value, Extent):
        return Media(kind, extent=value)
    if isinstance(value, str) and value:
        return _from_text(kind, value, place)
    content = stored_content(value)
    if isinstance(content, bytes | str | Extent) and content:
        return read_media(kind, content, place)
    article = "an" if kind == "image" else "a"
    raise ValueError(f"{shown(value)} is neither a path, a data URI, a URL nor {article} {kind}'s bytes")


def stored_content(value: object) -> object:
    """The bytes, else the path, of a struct as Hugging Face datasets store an image: `{bytes, path}`, or one of them.

    None for anything else.
    """
    cell = as_mapping(value)
    if not cell or not cell.keys() <= {"bytes", "path"}:
        return None
    content = cell.get("bytes")
    return cell.get("path") if absent(content) else content


def embedded(value: str) -> bytes | None:
    """The bytes that a text holds as a data URI or as bare base64; None where it is a path or a URL.

    Raises:
        ValueError: it begins as one of the two and isn't.
    """
    if value.startswith("data:"):
        return _decode_data_uri(value)
    return decode_base64(value) if _BARE_BASE64.fullmatch(value) else None


def _from_bytes(kind: MediaKind, value: bytes) -> Media:
    if not value:
        raise ValueError(f"the {kind} has no bytes")
    return Media(kind, data=value)


def _from_text(kind: MediaKind, value: str, place: MediaPlace) -> Media:
    content = embedded(value)
    if content is not None:
        return _from_bytes(kind, content)
    if scheme := _SCHEME.match(value):
        if scheme[1].lower() not in {"http", "https"}:
            raise ValueError(f"{shown(value)}: only http and https addresses can be fetched")
        if not place.allow_urls:
            raise ValueError(f"{shown(value)} is a URL; write `allow_urls: true` under `source:` to fetch it")
        return Media(kind, url=value)
    if "\0" in value:
        raise ValueError(f"{shown(value)} isn't a path")
    path = os.path.abspath(place.folder / value)  # noqa: PTH100 - resolve() would follow links
    if place.confined and not may_name(path, place.within):
        raise ValueError(f"{shown(value)} leads out of the data's folder {place.folder}; {ADVICE}")
    return Media(kind, path=path, within=place.within)


def _decode_data_uri(value: str) -> bytes:
    head, comma, body = value.partition(",")
    if not comma:
        raise ValueError(f"{shown(value)}: a data URI without a comma")
    return decode_base64(body) if head.endswith(";base64") else unquote_to_bytes(body)


def decode_base64(text: str) -> bytes:
    """The bytes that `text` stands for, line breaks in it ignored. Raises `ValueError` where it isn't base64."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(f"{shown(text)} isn't base64: {error}") from error
