"""The journal of a run: an append-only file of completions, the truth from which everything else is derived.

Every line carries a checksum (`journal_lines`). A writer that dies costs at most the line it was writing, a
damaged line costs its own record, and both are reported. `journal_read` reads.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

from muster.core import ConfigurationError, RunError
from muster.core.encoded import Encoded
from muster.core.regular_files import regular
from muster.results.files import sync_directory
from muster.results.journal_lines import (
    Entry,
    Record,
    Scan,
    Verdict,
    decode_entry,
    encode_answer,
    encode_header,
    encode_record,
)
from muster.results.journal_read import (
    Recovery,
    check_header,
    completed_keys,
    inspect_journal,
    latest,
    read_journal,
    recovery_of,
)

__all__ = ["Journal", "Record", "Recovery", "completed_keys", "inspect_journal", "latest", "read_journal"]

BUFFER_BYTES = 1 << 18
"""Appends are handed to the system when so much has gathered, or on `flush`,"""
PROMPT_SECONDS = 0.005
"""or after this time at the latest: at once where answers are few, together where they are thousands per second."""


class Journal:
    """An open journal that one process appends to. May be used from several threads.

    What was appended is safe from the death of this process after `flush`, or milliseconds later; durable after `sync`.
    """

    def __init__(self, path: Path, descriptor: int, end: int, recovery: Recovery) -> None:
        """Use `Journal.open`."""
        self.path = path
        self.recovery = recovery
        """What was found when it was opened."""
        self._descriptor = descriptor
        self._end = end  # how much of the file is whole lines
        self._buffer = bytearray()
        self._lock = threading.Lock()
        self._failed = False
        self._written_at = 0.0  # of the monotonic clock
        self._pending = threading.Event()
        self._follower: threading.Thread | None = None

    @classmethod
    def open(cls, path: Path, run_id: str, each: Callable[[Entry], None] | None = None) -> Self:
        """Create the journal of run `run_id`, or go on with it: an incomplete last line is cut off.

        `each` gets every record that is there, without its text, in the order they were written.
        Raises `ConfigurationError` for a file that is no journal, of a newer format or of another run (the
        file is left as it is), `RunError` where it can't be written.
        """
        try:
            descriptor = os.open(regular(path), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            with open(descriptor, "rb", closefd=False, buffering=1 << 20) as file:
                scan = Scan(file)
                for found in scan:
                    if each is not None and (entry := decode_entry(found.line)) is not None:
                        each(entry)
            check_header(scan, path)
            if scan.header is not None and scan.header.run != run_id:
                raise ConfigurationError(
                    f"{path} belongs to run {scan.header.run}, not to run {run_id}, which the manifest beside it "
                    f"names. Put the right journal back, or choose another folder with --output."
                )
            journal = cls(path, descriptor, scan.end, recovery_of(scan))
            journal._prepare(run_id, scan)
        except BaseException:
            os.close(descriptor)
            raise
        return journal

    def append(self, record: Record | Verdict) -> None:
        """Add a record. Raises `RunError` when the file can't grow (disk full)."""
        self._append(encode_record(record))

    def append_answer(self, answer: Encoded, worker: str, at: float, attempt: int) -> None:
        """Add a record of what came encoded; as `append`."""
        self._append(encode_answer(answer.json, worker, at, attempt))

    def _append(self, line: bytes) -> None:
        with self._lock:
            self._buffer += line
            if len(self._buffer) >= BUFFER_BYTES:
                self._write_out()
            elif time.monotonic() - self._written_at >= PROMPT_SECONDS:
                self._hand_over()
            elif not self._pending.is_set():
                self._pending.set()
                if self._follower is None:
                    self._follower = threading.Thread(target=self._follow, name="journal", daemon=True)
                    self._follower.start()

    def _follow(self) -> None:
        """In a thread: hand over what no later append does."""
        while self._pending.wait() and self._descriptor >= 0:
            time.sleep(PROMPT_SECONDS)
            with self._lock:
                self._pending.clear()
                if self._descriptor >= 0:
                    self._hand_over()

    def _hand_over(self) -> None:
        """Write the buffer; where that fails, the next `sync` tries again and says so."""
        failed = self._failed
        try:
            self._write_out()
        except RunError:
            self._failed = failed

    def append_many(self, records: Iterable[Record]) -> None:
        """Add records, in order."""
        for record in records:
            self.append(record)

    def flush(self) -> None:
        """Hand everything to the operating system."""
        with self._lock:
            self._write_out()

    def sync(self) -> None:
        """Make everything that was appended durable. Appending goes on meanwhile in other threads.

        Raises `RunError`: it can't be written, or somebody else has replaced, cut or removed it.
        """
        with self._lock:
            self._write_out()
            self._check_untouched()
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            self._failed = True
            raise _unwritable(self.path, error) from error

    def close(self) -> None:
        """Sync and close. May be called twice. After an error that was already raised, keeps what it can."""
        if self._descriptor < 0:
            return
        failed_before = self._failed
        try:
            self.sync()
        except RunError:
            if not failed_before:
                raise
        finally:
            with self._lock:
                os.close(self._descriptor)
                self._descriptor = -1
            self._pending.set()  # its thread ends

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self, run_id: str, scan: Scan) -> None:
        """Cut a torn tail, complete a line that lacks its break, begin an empty file with the header."""
        try:
            os.ftruncate(self._descriptor, self._end)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        if self._end == 0:
            self._buffer += encode_header(run_id)
        elif scan.unterminated:
            self._buffer += b"\n"
        self._write_out()
        sync_directory(self.path.parent)

    def _check_untouched(self) -> None:
        """What others did to the file, before it is met as answers that are missing."""
        ours = os.fstat(self._descriptor)
        try:
            there = self.path.stat()
        except OSError:
            there = None
        if there is None:
            what = "removed"
        elif (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            what = "replaced by another file"
        elif ours.st_size < self._end:
            what = f"cut from {self._end} to {ours.st_size} bytes"
        elif ours.st_size > self._end:
            what = "written to by somebody else"
        else:
            return
        self._failed = True
        raise RunError(
            f"the journal {self.path} was {what} while this run was working in its folder, so answers may be lost. "
            f"Find out who did it; then run the same command again with --output {self.path.parent}"
        )

    def _write_out(self) -> None:
        """Write the buffer. On an error the file keeps its whole lines, the buffer what is not in the file."""
        written = 0
        self._written_at = time.monotonic()
        view = bytes(self._buffer)
        try:
            while written < len(view):
                written += os.write(self._descriptor, view[written:] if written else view)
        except OSError as error:
            self._failed = True
            whole = view.rfind(b"\n", 0, written) + 1
            with suppress(OSError):  # where even that fails, readers skip the half line
                os.ftruncate(self._descriptor, self._end + whole)
            self._end += whole
            del self._buffer[:whole]
            raise _unwritable(self.path, error) from error
        self._end += written
        self._buffer.clear()


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(
        f"cannot write the journal {path}: {error.strerror or error}. What it already holds is kept. Make room "
        f"or give permission, then run the same command again with --output {path.parent}: it goes on from there."
    )
