"""The judge's process as the run sees it: started, asked, listened to, started again, ended.

A process of its own, whatever the judge is: a local model brings torch and its crashes, and a served one an event loop
that would share the coordinator's interpreter lock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from muster.core import ConfigurationError, RunError
from muster.core.child_process import ChildProcess, describe_exit
from muster.judging.judge import JudgeSpec, of_the_judge
from muster.judging.messages import (
    Broken,
    FromJudge,
    Ready,
    Setup,
    ToJudge,
    decode_from_judge,
)

MODULE = "muster.judging.child"


class JudgeProcess:
    """One start of the judge. Sending and receiving may happen in two threads."""

    def __init__(self, spec: JudgeSpec, log_file: Path | None) -> None:
        """Starts it. `log_file`: where its standard output and error go; None: to this process's standard error."""
        self._child = ChildProcess(MODULE, log_file=log_file, own_session=True)
        self.send(Setup(spec.backend, spec.settings))

    @property
    def pid(self) -> int:
        """Its id."""
        return self._child.pid

    def wait_until_ready(self, seconds: float) -> None:
        """Wait until its model is loaded.

        Raises:
            ConfigurationError: it can't be, as things are: no server, no key, no such model.
            RunError: it ended, or took too long.
        """
        self._child.connection.settimeout(seconds)
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
        self._child.connection.settimeout(None)

    def send(self, message: ToJudge) -> None:
        """Send a message; nothing happens where the process is gone, which `messages` tells."""
        with contextlib.suppress(OSError):
            self._child.send(message)

    def messages(self) -> Iterator[FromJudge]:
        """What it says, until it is gone. Raises `TimeoutError` while it loads."""
        while True:
            try:
                content = self._child.receive()
            except TimeoutError:
                raise
            except (EOFError, OSError):  # ended, reset, or closed by another thread of this process
                return
            yield decode_from_judge(content)

    def end(self) -> str:
        """Kill it with all that it started, and say how it ended. May be called again, and from another thread."""
        return describe_exit(self._child.end(patience=0.2))
