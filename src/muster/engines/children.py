"""Worker processes that an engine starts: started, watched, replaced when they die, never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from muster.engines.replica import Replica

log = logging.getLogger(__name__)

_ABORT_SECONDS = 3.0


@dataclass(slots=True)
class Child(Replica):
    """Implements `Replica` with a process on this machine."""

    env: Mapping[str, str]
    log_file: Path | None
    """Where its standard output and error go; None: to this process's standard error."""
    process: asyncio.subprocess.Process | None = None
    _output: BinaryIO | None = field(default=None, repr=False)

    @property
    def running(self) -> bool:
        """Whether the process exists."""
        return self.process is not None and self.process.returncode is None

    async def launch(self) -> None:
        """Start the process, in a session of its own so that Ctrl-C reaches the coordinator alone."""
        if self.log_file is not None:
            self.log_file.parent.mkdir(parents=True, exist_ok=True)
            self._output = self.log_file.open("ab")
        output = sys.stderr.fileno() if self._output is None else self._output
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # a user's queue.py or yaml.py in the working directory must not shadow a library's
            "-m",
            "muster.distributed.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=output,
            stderr=output,
            env={**os.environ, **self.env},
            start_new_session=True,
        )
        stdin = self.process.stdin
        assert stdin is not None
        stdin.write(msgspec.json.encode(self.start) + b"\n")  # stays open: its end tells the worker to end

    async def wait(self) -> str:
        """Wait for the end of the process; see `Replica`."""
        process, output = self.process, self._output  # another start may replace them meanwhile
        assert process is not None
        status = await process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(
                process.pid, signal.SIGKILL
            )  # what the model has started, and left behind with its memory
        if output is not None:
            output.close()
        return describe_exit(status)

    async def abort(self) -> None:
        """End a process that may be stuck: SIGABRT, which writes its stacks to its log, then SIGKILL."""
        if not self.running:
            return
        self._signal(signal.SIGABRT)
        try:
            await asyncio.wait_for(self.wait(), _ABORT_SECONDS)
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self.wait()

    def drain(self) -> None:
        """Have it finish what it has started, and leave."""
        if self.running and self.process is not None:
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process at once."""
        if self.running:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        try:
            os.killpg(self.process.pid, number)  # with whatever the model started
        except ProcessLookupError:
            log.debug("%s had ended already", self.name)


def describe_exit(status: int) -> str:
    """An exit status in words."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"
