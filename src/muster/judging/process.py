"""The judge's process as the run sees it: started, asked, listened to, started again, ended.

A process of its own, whatever the judge is: a local model brings torch and its crashes, and a served one an event loop
that would share the coordinator's interpreter lock.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from muster.core import ConfigurationError, RunError
from muster.core.framing import send_frame
from muster.core.own_python import own_module
from muster.engines.children import describe_exit
from muster.judging.judge import JudgeSpec, of_the_judge
from muster.judging.messages import (
    Broken,
    FromJudge,
    Ready,
    Setup,
    ToJudge,
    decode_from_judge,
    receive,
)

MODULE = "muster.judging.child"


class JudgeProcess:
    """One start of the judge. Sending and receiving may happen in two threads."""

    def __init__(self, spec: JudgeSpec, log_file: Path | None) -> None:
        """Starts it. `log_file`: where its standard output and error go; None: to this process's standard error."""
        self._connection, theirs = socket.socketpair()
        with contextlib.ExitStack() as ours:
            ours.enter_context(theirs)
            output = 2 if log_file is None else ours.enter_context(log_file.open("ab")).fileno()
            self._process = subprocess.Popen(
                own_module(MODULE, str(theirs.fileno())),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C reaches the coordinator alone
            )
        self._status: int | None = None
        self.send(Setup(spec.backend, spec.settings))

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    def wait_until_ready(self, seconds: float) -> None:
        """Wait until its model is loaded.

        Raises:
            ConfigurationError: it can't be, as things are: no server, no key, no such model.
            RunError: it ended, or took too long.
        """
        self._connection.settimeout(seconds)
        try:
            first = next(self.messages(), None)
        except TimeoutError:
            raise RunError(f"the judge was not ready within {seconds:.0f} s (--load-timeout)") from None
        if isinstance(first, Broken):
            if first.configuration:
                raise of_the_judge(ConfigurationError(first.message))
            raise RunError(f"the judge can't start: {first.message}")
        if not isinstance(first, Ready):
            raise RunError(f"the judge's process {self.end()} before its model was loaded; see its log")
        self._connection.settimeout(None)

    def send(self, message: ToJudge) -> None:
        """Send a message; nothing happens where the process is gone, which `messages` tells."""
        with contextlib.suppress(OSError):
            send_frame(self._connection, message)

    def messages(self) -> Iterator[FromJudge]:
        """What it says, until it is gone. Raises `TimeoutError` while it loads."""
        while (content := receive(self._connection)) is not None:
            yield decode_from_judge(content)

    def end(self) -> str:
        """Kill it with all that it started, and say how it ended. May be called again, and from another thread."""
        if self._status is not None:
            return describe_exit(self._status)
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2)  # it may be ending by itself, and its status then says more
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._status = self._process.wait()
        self._connection.close()
        return describe_exit(self._status)
