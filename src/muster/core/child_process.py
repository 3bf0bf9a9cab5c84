"""A Python process of Muster's own beside this one, with a socket between them: both ends of its life.

It ends when this process does, not by a signal that reaches a whole group, and shadows no library with what lies in the
working directory. The workers of an engine aren't started so: they belong to an event loop, and drain at SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue

from muster.core.framing import receive_header, send_frame
from muster.core.own_python import own_module


def _launch(
    module: str, connection: socket.socket, env: Mapping[str, str], output: int, *, own_session: bool
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        own_module(module, str(connection.fileno())),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=env,
        pass_fds=[connection.fileno()],
        start_new_session=own_session,
    )


launch: Callable[..., subprocess.Popen[bytes]] = _launch
"""What starts the process: tests put another in its place, which has the imports already."""


class ChildProcess:
    """One start of `python -P -m MODULE FD`. Sending and receiving may happen in two threads."""

    def __init__(
        self,
        module: str,
        *,
        env: Mapping[str, str] | None = None,
        log_file: Path | None = None,
        own_session: bool = False,
    ) -> None:
        """Start it.

        Args:
            module: its `main` begins with a `Parent`.
            env: added to this process's variables.
            log_file: where its standard output and error go; None: to this process's standard error, since what a
                library prints is not to mix with the output of a run.
            own_session: whether it leaves the process group, and is ended with all that it has started.

        Raises:
            OSError: it can't be started.
        """
        self.connection, theirs = socket.socketpair()
        try:
            with contextlib.ExitStack() as ours:
                ours.enter_context(theirs)
                output = 2 if log_file is None else ours.enter_context(log_file.open("ab")).fileno()
                variables = {**os.environ, **(env or {})}
                self.process = launch(module, theirs, variables, output, own_session=own_session)
        except BaseException:
            self.connection.close()
            raise
        self._end = weakref.finalize(self, _end, self.process, self.connection, group=own_session)

    @property
    def pid(self) -> int:
        """Its id."""
        return self.process.pid

    def send(self, message: object, payload: Sequence[memoryview | bytes] = ()) -> None:
        """Send one frame. Raises `OSError` when it is gone, and what msgspec raises for the message."""
        send_frame(self.connection, message, payload)

    def receive(self) -> bytes:
        """The next frame's header. Raises `EOFError` or `OSError` when it is gone."""
        return receive_header(self.connection)[0]

    def end(self, patience: float = 0.0) -> int:
        """Kill it, which has nothing to save, and return its exit status as `Popen` has it.

        May be called again, and from another thread. `patience`: seconds for one that is ending by itself.
        """
        if patience and self._end.alive:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
        self._end()
        return self.process.wait()


def _end(process: subprocess.Popen[bytes], connection: socket.socket, *, group: bool) -> None:
    if group:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    # Not before: a child that sees its connection end exits by itself.
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for it
    process.wait()
    connection.close()


class Parent:
    """In the child: the process that started it. When that is gone, so is this process, whatever it is busy with."""

    def __init__(self) -> None:
        """Begin to listen."""
        # Ctrl-C and a scheduler's warning go to whole process groups; requests in flight are to be finished first.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.connection = socket.socket(fileno=int(sys.argv[1]))
        self._headers: SimpleQueue[bytes] = SimpleQueue()
        self._sending = threading.Lock()
        threading.Thread(target=self._listen, name="muster-parent", daemon=True).start()

    def receive(self) -> bytes:
        """The next frame's header, as it comes."""
        return self._headers.get()

    def send(self, message: object) -> None:
        """Send a frame, from any thread. Raises `OSError` when the other end is gone."""
        with self._sending:
            send_frame(self.connection, message)

    def _listen(self) -> None:
        try:
            while True:
                self._headers.put(receive_header(self.connection)[0])
        except (EOFError, OSError):
            os._exit(0)


def describe_exit(status: int) -> str:
    """An exit status, as `Popen` has it, in words."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"
