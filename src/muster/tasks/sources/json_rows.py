"""Rows of JSON and JSON Lines, told apart by what is in the file: both kinds are found under either name."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec

from muster.core import ConfigurationError
from muster.core.text import did_you_mean
from muster.tasks.sources.row import Row
from muster.tasks.sources.text_files import open_bytes
from muster.tasks.yaml_lines import as_mapping

_LINE_BREAK = b"\n"
_BOM = b"\xef\xbb\xbf"
_decode = msgspec.json.Decoder().decode
_NOT_JSON = (b"NaN", b"Infinity")
"""Numbers that Python's json module writes and JSON hasn't."""


def jsonl_rows(file: Path, records: str | None = None) -> Iterator[Row]:
    """One record per line; a file that is one list after all is read as `json_rows` reads it."""
    with open_bytes(file) as lines:
        first = next((line for line in lines if line.removeprefix(_BOM).strip()), b"")
    if _begins_a_list(first.removeprefix(_BOM).strip()):
        yield from _document(file, records)
    else:
        yield from _lines(file)


def _begins_a_list(line: bytes) -> bool:
    if not line.startswith(b"["):
        return False
    try:
        return _holds_records(decode_record(line))
    except (msgspec.DecodeError, UnicodeDecodeError):  # it goes on in the next lines
        return True


def json_rows(file: Path, records: str | None = None) -> Iterator[Row]:
    """A list of objects, or the one that a document holds as `records`; or one object per line."""
    if records is None and _is_lines(file):
        yield from _lines(file)
    else:
        yield from _document(file, records)


def _is_lines(file: Path) -> bool:
    """Whether the first line is an object by itself, and either another follows or it is a record, not a document."""
    with open_bytes(file) as lines:
        filled = (line for line in lines if line.removeprefix(_BOM).strip())
        first, second = [*itertools.islice(filled, 2), b"", b""][:2]
    first = first.removeprefix(_BOM).strip()
    if not first.startswith(b"{") or not first.endswith(b"}"):
        return False
    try:
        record = as_mapping(decode_record(first))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    if record is None or second:
        return record is not None
    return not any(_holds_records(value) for value in record.values())


def _holds_records(value: object) -> bool:
    return isinstance(value, list) and (not value or any(isinstance(item, dict) for item in value))


def _lines(file: Path) -> Iterator[Row]:
    number, name = 0, str(file)
    with open_bytes(file) as lines:
        for line_number, line in enumerate(lines, 1):
            text = line.removeprefix(_BOM) if line_number == 1 else line
            if text.isspace() or not text:
                continue
            place = f"{name}:{line_number}"
            try:
                record = decode_record(text)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ConfigurationError(f"{place}: not a line of JSON: {error}") from error
            yield _record(number, place, record)
            number += 1


def _document(file: Path, name: str | None = None) -> Iterator[Row]:
    """Decoded one by one: they may be a million."""
    with open_bytes(file) as content:
        text = content.read().removeprefix(_BOM)
    if not text.strip():
        return
    try:
        records = _records(file, text, name)
        for number, record in enumerate(records):
            place = f"{file}: {name or 'row'} {number} (from 0)"
            yield _record(number, place, decode_record(record))
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{file}{_line_of(error, text)}: not JSON: {error}") from error


def decode_record(text: bytes | msgspec.Raw) -> object:
    """What the JSON says; NaN and infinities are numbers, as for Python's own json module."""
    try:
        return _decode(text)
    except msgspec.DecodeError:
        raw = bytes(text)
        if not any(word in raw for word in _NOT_JSON):
            raise
        try:
            return json.loads(raw)
        except ValueError:
            pass
        raise


def _records(file: Path, text: bytes, name: str | None) -> list[msgspec.Raw]:
    text = _as_json(text)
    if name is None:
        try:
            return msgspec.json.decode(text, type=list[msgspec.Raw])
        except msgspec.ValidationError:
            pass
    wanted = name or "samples"
    try:
        lists = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        return msgspec.json.decode(lists[wanted], type=list[msgspec.Raw])
    except KeyError:
        known = f"; it has {', '.join(lists)}{did_you_mean(wanted, lists)}" if name else ""
    except msgspec.ValidationError:
        known = ""
    if name is None:
        raise ConfigurationError(
            f"{file}: neither a list of samples nor an object with a list named 'samples'; say under `source:` "
            "which list it is (`records: …`)"
        )
    raise ConfigurationError(f"{file}: not an object with a list named {name!r}{known}")


def _as_json(text: bytes) -> bytes:
    """The document with null for what is no number in JSON. Raises `DecodeError` with the place in the whole text."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        if not any(word in text for word in _NOT_JSON):
            raise
        try:
            return msgspec.json.encode(json.loads(text))  # which writes null for them
        except ValueError:
            pass
        raise
    return text


def _line_of(error: msgspec.DecodeError, text: bytes) -> str:
    """`:LINE`, from the `(byte N)` at the end of msgspec's message."""
    offset = str(error).rpartition("(byte ")[2].rstrip(")")
    return f":{text.count(_LINE_BREAK, 0, int(offset)) + 1}" if offset.isdigit() else ""


def _record(number: int, place: str, record: object) -> Row:
    if not isinstance(record, dict):
        raise ConfigurationError(f"{place}: not an object with the fields of a sample")
    return Row(number, place, record)
