"""The journal's lines: JSON objects, each ending with a CRC-32 of the bytes before it.

{"muster_journal":1,"run":"2f9c","crc":"…"}
{"completion":{"key":["mme","17",0],"text":"C",…},"worker":"rank3","at":1790000000.1,"attempt":1,"crc":"…"}
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO, NamedTuple, TypeVar
from zlib import crc32

import msgspec

from muster.core import Completion, RequestKey

FORMAT = 1
_CRC_LENGTH = len(',"crc":"00000000"}')
_RECORD_START = b'{"completion":{"key":['
_END = re.compile(rb',"crc":"[0-9a-f]{8}"\}')
_HEADER_START = b'{"muster_journal":'

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the journal: a completion, who made it and when."""

    completion: Completion
    worker: str
    at: float
    """Unix seconds."""
    attempt: int
    """Which attempt of the run recorded it, from 1."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line of the journal of verdicts: what a judge said about an answer, or why it said nothing."""

    completion: Completion
    """The judge's; its key is that of the answer."""
    judge: str
    """The name of its model."""
    judge_id: str
    """Digest of all that decides what it says."""
    prompt: str
    """Name and version."""
    asked: str
    """Digest of the judge and of what it was asked, the answer included: nobody is asked the same twice."""
    at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first line."""

    muster_journal: int
    """The version of the format."""
    run: str


class Cause(msgspec.Struct, gc=False):
    """A failure without its traceback."""

    kind: str
    type: str
    message: str


class Length(msgspec.Struct, frozen=True, gc=False):
    """How long an answer is."""

    completion_tokens: int | None = None


class Outcome(msgspec.Struct, gc=False):
    """Which request was answered, or why not."""

    key: RequestKey
    usage: Length = Length()
    failure: Cause | None = None
    finish_reason: str | None = None
    seconds: float | None = None


class Entry(msgspec.Struct, gc=False):
    """A record without the answer: four times cheaper to read than the whole."""

    completion: Outcome
    worker: str
    at: float
    attempt: int = 1


class Found(NamedTuple):
    """An intact record, still encoded."""

    offset: int
    line: bytes


class Damage(NamedTuple):
    """A line that is not one intact record."""

    number: int
    """From 1, as editors count."""
    bytes: int
    torn: bool
    """It is the last line and has no end: a writer died in it, or is still writing it."""


class Scan:
    """The intact lines of a journal, in order, in bounded memory; afterwards, what else was found."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.header: Header | None = None
        self.records = 0
        self.damaged: list[Damage] = []
        self.end = 0
        """Where the next record goes: the end of the last line that is whole."""
        self.unterminated = False
        """The last record is intact but for its line break."""

    def __iter__(self) -> Iterator[Found]:
        """Every intact record, in order."""
        offset = 0
        for number, line in enumerate(self._file, start=1):
            ended = line.endswith(b"\n")
            body = line[:-1] if ended else line
            found: Sequence[Found]
            if is_intact(body):
                found = (Found(offset, body),)
            else:
                found = _salvage(offset, body)
                self.damaged.append(Damage(number, len(line), torn=not ended and not found))
            if ended or found:
                self.end = offset + len(line)
                self.unterminated = not ended
            offset += len(line)
            for each in found:
                if each.line.startswith(_HEADER_START):
                    self.header = self.header or decode_header(each.line)
                else:
                    self.records += 1
                    yield each
            if not ended:
                return  # a writer may be adding to this very line: what it adds is not a line of its own


def is_intact(line: bytes) -> bool:
    """Whether `line` (without its line break) ends with the right checksum of the rest."""
    return line[-_CRC_LENGTH:] == b',"crc":"%08x"}' % crc32(line[:-_CRC_LENGTH])


def encode_header(run_id: str) -> bytes:
    """The first line."""
    return _encode(Header(FORMAT, run_id))


def encode_record(record: Record | Verdict) -> bytes:
    """The record's line, with its line break."""
    return _encode(record)


def encode_answer(json: bytes, worker: str, at: float, attempt: int) -> bytes:
    """The line of the `Record` whose completion is `json`, one line as `core.encoded` has it."""
    body = b'{"completion":%b%b' % (json, _maker(worker, at, attempt))
    return b"%b%b\n" % (body, _seal(body))


@lru_cache(maxsize=1)
def _maker(worker: str, at: float, attempt: int) -> bytes:
    """The rest of a record, the same for all answers that came together."""
    return b',"worker":%b,"at":%b,"attempt":%d' % (_ENCODER.encode(worker), _ENCODER.encode(at), attempt)


def decode_record(line: bytes) -> Record | None:
    """The record of an intact line; None where it doesn't have the fields of this version."""
    return _decode(_RECORDS, line)


def decode_verdict(line: bytes) -> Verdict | None:
    """The verdict of an intact line; None where it doesn't have the fields of this version."""
    return _decode(_VERDICTS, line)


def decode_entry(line: bytes) -> Entry | None:
    """The record without its text."""
    return _decode(_ENTRIES, line)


def interned(key: RequestKey) -> RequestKey:
    """The same key, with one copy of the task's name for all of them."""
    return RequestKey(sys.intern(key.task), key.sample_id, key.repeat)


def looks_like_header(line: bytes) -> bool:
    """Whether a file that has no whole line was at least begun as a journal."""
    return line.startswith(_HEADER_START[: len(line)])


_ENCODER = msgspec.json.Encoder()
_RECORDS = msgspec.json.Decoder(Record)
_VERDICTS = msgspec.json.Decoder(Verdict)
_ENTRIES = msgspec.json.Decoder(Entry)


def _seal(body: bytes) -> bytes:
    return b',"crc":"%08x"}' % crc32(body)


def _encode(value: Record | Verdict | Header) -> bytes:
    try:
        body = _ENCODER.encode(value)[:-1]
    except UnicodeEncodeError:
        # A lone surrogate in a model's output. \ud800 escapes are lossless, and only the standard library
        # writes and reads them.
        body = json.dumps(msgspec.to_builtins(value), separators=(",", ":")).encode()[:-1]
    return b"%b%b\n" % (body, _seal(body))


def _decode(decoder: msgspec.json.Decoder[T], line: bytes) -> T | None:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            value: T = msgspec.convert(json.loads(line), decoder.type)
        except (ValueError, msgspec.ValidationError, RecursionError):
            return None
        return value


def decode_header(line: bytes) -> Header | None:
    """The header that a first line holds; None where it holds none."""
    try:
        return msgspec.json.decode(line, type=Header)
    except (msgspec.DecodeError, RecursionError):
        return None


def _salvage(offset: int, line: bytes) -> list[Found]:
    """The intact records inside a damaged line.

    A lost line break joins two lines that are both whole, and what was written over another line may begin right behind
    a whole one. Inside a record the marks searched for can't occur, since JSON escapes quotes in strings.
    """
    starts = [0]
    while (start := line.find(_RECORD_START, starts[-1] + 1)) >= 0:
        starts.append(start)
    found: list[Found] = []
    for start, stop in zip(starts, [*starts[1:], len(line)], strict=True):
        seal = _END.search(line, start, stop)
        if seal is not None and is_intact(line[start : seal.end()]):
            found.append(Found(offset + start, line[start : seal.end()]))
    return found
