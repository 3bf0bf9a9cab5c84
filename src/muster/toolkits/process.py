"""A toolkit's own interpreter, in a process of its own: started, asked, ended.

Its imports, its globals and what its code does to them stay there. It runs as the user, with the user's rights; what
it reads and writes is not confined (docs/other-catalogues.md). Nothing that it sends is unpickled or evaluated.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from muster.core import JSON, ConfigurationError, RunError
from muster.core.framing import receive_header, receive_into, send_encoded
from muster.core.own_python import SAFE_PATH
from muster.toolkits.messages import Done, Failed, Message, Question, Row, decode

INSIDE = Path(__file__).parent / "inside"
_LONGEST_LOG = 2000
_GOODBYE_SECONDS = 2.0
T = TypeVar("T")
Answerer = Callable[[Question], "tuple[str | None, str]"]
"""Answers a question for the judge: the text, or None and why there is none."""


class Frame(NamedTuple):
    """One row of an answer."""

    header: bytes
    payload: bytes

    def read(self, kind: type[T]) -> T:
        """The row as a value. Raises `RunError` where it isn't one."""
        try:
            return msgspec.json.decode(self.header, type=kind)
        except msgspec.ValidationError as error:
            raise RunError(
                f"the toolkit's process says what can't be read as {kind.__name__}: {error}"
            ) from error


class ToolkitProcess:
    """One start of a script of `inside/` in a toolkit's interpreter. One thread asks at a time."""

    def __init__(self, toolkit: str, script: str, python: str) -> None:
        """Starts it.

        Raises:
            ConfigurationError: there is no such interpreter.
        """
        self.toolkit = toolkit
        self.scratch = Path(tempfile.mkdtemp(prefix=f"muster-{toolkit}-"))
        """Its working directory, where its code leaves submissions; removed when it ends."""
        self.answer: Answerer = _nobody
        self._log = self.scratch.parent / f"{self.scratch.name}.log"
        self._connection, theirs = socket.socketpair()
        try:
            with theirs, self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [python, str(INSIDE / script), str(theirs.fileno())],
                    cwd=self.scratch,
                    env={"PYTHONHASHSEED": "0", **os.environ, **SAFE_PATH, "PYTHONUNBUFFERED": "1"},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # Ctrl-C reaches the run alone
                )
        except OSError as error:
            _remove(self.scratch, self._log)
            raise ConfigurationError(
                f"{toolkit}: {python} can't be started ({error.strerror or error}); --{toolkit}-python names the "
                "interpreter of the environment that it is installed in"
            ) from error
        self._end = weakref.finalize(self, _end, self._process, self._connection, self.scratch, self._log)

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._end.alive and self._process.poll() is None

    def ask(self, request: Mapping[str, JSON]) -> Iterator[Frame]:
        """The rows of the answer, as they come; has to be read to its end before anything else is asked.

        Raises:
            ConfigurationError: it can't be done as things are.
            RunError: the process is gone, or the toolkit's code failed.
        """
        self.send(request)
        while (frame := self.receive()) is not None:
            yield frame

    def send(self, message: Mapping[str, JSON]) -> None:
        """Ask something whose rows `receive` gives. Raises as `ask`."""
        try:
            send_encoded(self._connection, msgspec.json.encode(message))
        except OSError:
            raise self._gone() from None

    def receive(self) -> Frame | None:
        """The next row of what was asked; None at its end. Raises as `ask`."""
        while True:
            try:
                header, payload = self._frame()
            except (EOFError, OSError):
                raise self._gone() from None
            message = _read(header)
            if isinstance(message, Question):
                text, why = self.answer(message)
                self.send({"do": "answer", "number": message.number, "text": text, "message": why})
            elif isinstance(message, Row):
                return Frame(header, payload)
            elif isinstance(message, Failed):
                kind = ConfigurationError if message.configuration else RunError
                raise kind(f"{self.toolkit}: {message.message}")
            elif isinstance(message, Done):
                return None

    def only(self, request: Mapping[str, JSON], kind: type[T]) -> T:
        """The one row of an answer. Raises as `ask`, and `RunError` for another number of rows."""
        rows = [frame.read(kind) for frame in self.ask(request)]
        if len(rows) != 1:
            raise RunError(f"{self.toolkit}: {len(rows)} rows where one was expected")
        return rows[0]

    def first(self, request: Mapping[str, JSON], kind: type[T]) -> T:
        """The first row of an answer that goes on. Raises as `ask`."""
        self.send(request)
        frame = self.receive()
        if frame is None:
            raise RunError(f"{self.toolkit}: its process had nothing to say")
        return frame.read(kind)

    def last_words(self) -> str:
        """The end of what it printed."""
        try:
            content = self._log.read_bytes()[-_LONGEST_LOG:]
        except OSError:
            return "nothing"
        return content.decode(errors="replace").strip() or "nothing"

    def end(self) -> None:
        """End it, with all that it started, and remove its scratch folder. May be called again."""
        self._end()

    def _gone(self) -> RunError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GOODBYE_SECONDS)  # it has just closed its end
        return RunError(
            f"{self.toolkit}: its process (id {self.pid}) is gone, status {self._process.poll()}. It last said: "
            f"{self.last_words()}"
        )

    def _frame(self) -> tuple[bytes, bytes]:
        header, size = receive_header(self._connection)
        payload = bytearray(size)
        receive_into(self._connection, memoryview(payload))
        return header, bytes(payload)


def _read(header: bytes) -> Message:
    try:
        return decode(header)
    except msgspec.ValidationError as error:
        raise RunError(f"the toolkit's process says what can't be read: {error}") from error


def _nobody(_question: Question) -> tuple[str | None, str]:
    return None, "a judge would have to be asked: --judge MODEL names one (docs/judges.md)"


def _end(process: subprocess.Popen[bytes], connection: socket.socket, scratch: Path, log: Path) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0.5)  # it ends by itself when its connection does
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    _remove(scratch, log)


def _remove(*places: Path) -> None:
    for place in places:
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)
