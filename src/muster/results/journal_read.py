"""Reading a journal, in bounded memory, also while a run appends to it: an incomplete last line isn't there yet."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from muster.core import ConfigurationError, FailureKind, RequestKey, RunError
from muster.core.regular_files import regular
from muster.results.journal_lines import (
    FORMAT,
    Entry,
    Found,
    Record,
    Scan,
    Verdict,
    decode_entry,
    decode_header,
    decode_record,
    decode_verdict,
    interned,
    is_intact,
    looks_like_header,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LONGEST_HEADER = 1 << 12
_GAP = 1 << 12
_BLOCK = 1 << 20
"""Records no further apart than `_GAP` bytes are read at once, up to `_BLOCK`."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What is in a journal, and what was lost in it."""

    records: int = 0
    """Intact records."""
    torn_bytes: int = 0
    """Length of the incomplete last line: what was being written when the writer died."""
    corrupt_lines: tuple[int, ...] = ()
    """Line numbers, from 1, whose checksum is wrong; each costs at most its own record."""

    @property
    def clean(self) -> bool:
        """Whether nothing was lost."""
        return not self.torn_bytes and not self.corrupt_lines

    def __str__(self) -> str:
        """One sentence for the user."""
        sentence = f"{self.records} records"
        if self.corrupt_lines:
            shown = ", ".join(map(str, self.corrupt_lines[:10])) + (
                " …" if len(self.corrupt_lines) > 10 else ""
            )
            sentence += f"; {len(self.corrupt_lines)} damaged and left out (line {shown})"
        if self.torn_bytes:
            sentence += f"; an incomplete last line of {self.torn_bytes} bytes left out"
        return sentence


def inspect_journal(path: Path) -> Recovery:
    """Check every line's checksum. An absent journal is an empty one."""
    with _opened(path) as scan:
        for _ in scan:
            pass
    return recovery_of(scan)


def run_of_journal(path: Path) -> str | None:
    """The run that a journal belongs to, by its first line; None where it is absent, empty, or that line is damaged.

    Raises `ConfigurationError` for a file that is no journal, or can't be read.
    """
    try:
        if not path.exists() or not regular(path).stat().st_size:
            return None
        with path.open("rb") as file:
            first = file.readline(_LONGEST_HEADER).removesuffix(b"\n")
    except OSError as error:
        raise ConfigurationError(f"cannot read the journal {path}: {error.strerror or error}") from error
    header = decode_header(first) if is_intact(first) else None
    if header is None:
        inspect_journal(path)
    return None if header is None else header.run


def recovery_of(scan: Scan) -> Recovery:
    """What a finished scan found."""
    return Recovery(
        records=scan.records,
        torn_bytes=sum(damage.bytes for damage in scan.damaged if damage.torn),
        corrupt_lines=tuple(damage.number for damage in scan.damaged if not damage.torn),
    )


def read_journal(path: Path) -> Iterator[Record]:
    """Every intact record, in the order they were written; an absent journal has none.

    Raises `ConfigurationError` for a file that is no journal or of a newer format.
    """
    with _opened(path) as scan:
        for found in scan:
            if (record := decode_record(found.line)) is not None:
                yield record


def read_verdicts(path: Path) -> Iterator[Verdict]:
    """Every intact verdict of a journal of verdicts, in order. Raises as `read_journal`."""
    with _opened(path) as scan:
        for found in scan:
            if (verdict := decode_verdict(found.line)) is not None:
                yield verdict


def read_entries(path: Path) -> Iterator[Entry]:
    """Every intact record without its text: who answered what and when, and what failed."""
    for _, entry in _entries(path):
        yield entry


def latest(records: Iterable[Record]) -> dict[RequestKey, Record]:
    """The one record that counts for each request: the first success, else the last failure."""
    chosen: dict[RequestKey, Record] = {}
    for record in records:
        key = record.completion.key
        held = chosen.get(key)
        if held is None or not held.completion.succeeded:
            chosen[key] = record
    return chosen


def completed_keys(path: Path, *, failed: Container[FailureKind] = ()) -> set[RequestKey]:
    """The requests that need not be asked again: those with an answer.

    `failed` adds those whose last failure is of one of these kinds: `{"sample"}` for failures that would
    only happen again. Holds nothing but keys in memory.
    """
    done: set[RequestKey] = set()
    given_up: set[RequestKey] = set()
    for _, entry in _entries(path):
        key = interned(entry.completion.key)
        failure = entry.completion.failure
        if failure is None:
            done.add(key)
        elif failure.kind in failed:
            given_up.add(key)
        else:
            given_up.discard(key)
    return done | given_up


class JournalReader:
    """The records that count, by request, read one at a time from where they are. Holds 25 bytes for each."""

    def __init__(self, path: Path) -> None:
        hashes, offsets, lengths, succeeded = array("q"), array("q"), array("I"), bytearray()
        for found, entry in _entries(path):
            hashes.append(hash(entry.completion.key))
            offsets.append(found.offset)
            lengths.append(len(found.line))
            succeeded.append(entry.completion.failure is None)
        order = np.argsort(np.frombuffer(hashes, np.int64), kind="stable")
        self._hashes = array("q", np.frombuffer(hashes, np.int64)[order].tobytes())
        self._offsets = array("q", np.frombuffer(offsets, np.int64)[order].tobytes())
        self._lengths = array("I", np.frombuffer(lengths, np.uint32)[order].tobytes())
        self._succeeded = np.frombuffer(succeeded, np.uint8)[order].tobytes()
        self._file = (path if path.exists() else Path(os.devnull)).open("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def succeeded(self, key: RequestKey) -> bool:
        """Whether the request has an answer."""
        return (record := self.get(key)) is not None and record.completion.succeeded

    def answer(self, key: RequestKey) -> str:
        """The text that the request was answered with. Raises `RunError` where there is none."""
        record = self.get(key)
        if record is None or record.completion.text is None:
            raise RunError(f"{self._file.name} has no answer to {key}")
        return record.completion.text

    def get(self, key: RequestKey) -> Record | None:
        """The request's record: its first success, else its last failure, else None."""
        wanted, chosen = hash(key), None
        number = bisect_left(self._hashes, wanted)
        while number < len(self._hashes) and self._hashes[number] == wanted:
            line = os.pread(self._file.fileno(), self._lengths[number], self._offsets[number])
            record = decode_record(line)
            if record is None or hash(record.completion.key) != wanted:
                raise RunError(f"{self._file.name} was changed while it was read; try again")
            if record.completion.key == key:
                if self._succeeded[number]:
                    return record
                chosen = record
            number += 1
        return chosen

    def get_all(self, keys: Sequence[tuple[str, str, int]]) -> Iterator[Record | None]:
        """`get` of each key, in their order, with few reads where the records lie near each other."""
        hashes = np.frombuffer(self._hashes, np.int64)
        wanted = np.fromiter(map(hash, keys), np.int64, len(keys))
        numbers = np.searchsorted(hashes, wanted)
        once = np.searchsorted(hashes, wanted, side="right") - numbers == 1
        lines = self._lines(numbers[once])
        for key, number, is_there_once in zip(keys, numbers.tolist(), once.tolist(), strict=True):
            record = decode_record(lines[number]) if is_there_once else None
            is_it = record is not None and record.completion.key == key
            yield record if is_it else self.get(RequestKey(*key))

    def _lines(self, numbers: NDArray[np.int64]) -> dict[int, bytes]:
        """The lines with these numbers; those that lie near each other are read at once."""
        offsets = np.frombuffer(self._offsets, np.int64)[numbers]
        order = np.argsort(offsets)
        ends = (offsets + np.frombuffer(self._lengths, np.uint32)[numbers])[order].tolist()
        starts = offsets[order].tolist()
        lines: dict[int, bytes] = {}
        block, begin, end = b"", 0, 0
        for place, number in enumerate(numbers[order].tolist()):
            if ends[place] > end:
                begin, end = starts[place], _end_of_run(starts, ends, place)
                block = os.pread(self._file.fileno(), end - begin, begin)
            lines[number] = block[starts[place] - begin : ends[place] - begin]
        return lines


def _end_of_run(starts: Sequence[int], ends: Sequence[int], first: int) -> int:
    """Where the records end that are to be read together with the first one."""
    last = first
    while (
        last + 1 < len(starts)
        and starts[last + 1] <= ends[last] + _GAP
        and ends[last + 1] <= starts[first] + _BLOCK
    ):
        last += 1
    return ends[last]


def check_header(scan: Scan, path: Path) -> None:
    """Raise `ConfigurationError` where a finished scan shows that the file isn't a journal we can read.

    A damaged header before intact records is damage like any other.
    """
    if scan.header is not None and scan.header.muster_journal > FORMAT:
        raise ConfigurationError(
            f"{path} was written by a newer Muster (journal format {scan.header.muster_journal}, this one reads "
            f"up to {FORMAT}). Upgrade Muster, or choose another folder with --output."
        )
    if scan.header is None and not scan.records and scan.damaged and not _only_begun(scan, path):
        raise ConfigurationError(
            f"{path} is not a Muster journal: its first line is no journal header and it holds no intact record. "
            f"Choose another folder with --output, or move that file away."
        )


def _only_begun(scan: Scan, path: Path) -> bool:
    """The writer died in the very first line."""
    if len(scan.damaged) != 1 or not scan.damaged[0].torn:
        return False
    with path.open("rb") as file:
        return looks_like_header(file.read(32))


def _entries(path: Path) -> Iterator[tuple[Found, Entry]]:
    with _opened(path) as scan:
        for found in scan:
            if (entry := decode_entry(found.line)) is not None:
                yield found, entry


@contextmanager
def _opened(path: Path) -> Iterator[Scan]:
    try:
        file = regular(path).open("rb", buffering=1 << 20)
    except FileNotFoundError:
        file = Path(os.devnull).open("rb")  # noqa: SIM115  # closed by the `with` below
    except OSError as error:
        raise ConfigurationError(f"cannot read the journal {path}: {error.strerror or error}") from error
    with file:
        scan = Scan(file)
        yield scan
        check_header(scan, path)
