"""Worker processes that an engine starts: started, watched, replaced when they die, never left behind."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from muster.distributed.worker import Start

log = logging.getLogger(__name__)

MOST_FRUITLESS_STARTS = 3
"""Starts in a row that settled nothing, after which a replica is given up."""
_ABORT_SECONDS = 3.0


@dataclass(slots=True)
class Child:
    """One replica's process and its history."""

    start: Start
    env: Mapping[str, str]
    log_file: Path
    process: asyncio.subprocess.Process | None = None
    fruitless_starts: int = 0
    settled_before: int = 0
    given_up: bool = False
    failure: str = ""
    """Why it failed last."""
    _output: BinaryIO | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The worker's name."""
        return self.start.name

    @property
    def running(self) -> bool:
        """Whether the process exists."""
        return self.process is not None and self.process.returncode is None

    async def launch(self) -> None:
        """Start the process, in a session of its own so that Ctrl-C reaches the coordinator alone."""
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        self._output = self.log_file.open("ab")
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "muster.distributed.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=self._output,
            stderr=self._output,
            env={**os.environ, **self.env},
            start_new_session=True,
        )
        stdin = self.process.stdin
        assert stdin is not None
        stdin.write(msgspec.json.encode(self.start) + b"\n")  # stays open: its end tells the worker to end

    async def wait(self) -> int:
        """Wait for the end of the process; negative for a signal."""
        assert self.process is not None
        status = await self.process.wait()
        if self._output is not None:
            self._output.close()
        return status

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

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        try:
            os.killpg(self.process.pid, number)  # with whatever the model started
        except ProcessLookupError:
            log.debug("%s had ended already", self.name)

    def may_restart(self, settled: int) -> bool:
        """Count one more death, and say whether another start is worth it: it is as long as starts bear fruit."""
        self.fruitless_starts = 0 if settled > self.settled_before else self.fruitless_starts + 1
        self.settled_before = settled
        self.given_up = self.fruitless_starts >= MOST_FRUITLESS_STARTS
        return not self.given_up


def describe_exit(status: int) -> str:
    """An exit status in words."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"
