"""Worker processes that an engine starts: started, watched, replaced when they die, never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import msgspec

from muster.core.child_process import describe_exit
from muster.core.own_python import own_module
from muster.engines.leftover_ranks import is_stopped
from muster.engines.replica import Replica
from muster.wire.worker_pipe import Report, read_report

log = logging.getLogger(__name__)

_ABORT_SECONDS = 3.0
_LAST_REPORT_SECONDS = 1.0
_LONGEST_REPORT = 1 << 20


@dataclass(slots=True)
class Child(Replica):
    """Implements `Replica` with a process on this machine."""

    env: Mapping[str, str]
    log_file: Path | None
    """Where its standard output and error go; None: to this process's standard error."""
    on_report: Callable[[Report], None] | None = None
    """Called in the event loop with what the worker reports; None: it isn't asked to."""
    process: asyncio.subprocess.Process | None = None
    _output: BinaryIO | None = field(default=None, repr=False)
    _listener: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def running(self) -> bool:
        """Whether the process exists."""
        return self.process is not None and self.process.returncode is None

    @property
    def stopped(self) -> bool:
        """See `Replica`."""
        return self.process is not None and self.running and is_stopped(self.process.pid)

    async def launch(self) -> None:
        """Start the process, in a session of its own so that Ctrl-C reaches the coordinator alone."""
        if self.log_file is not None:
            self.log_file.parent.mkdir(parents=True, exist_ok=True)
            self._output = self.log_file.open("ab")
        output = sys.stderr.fileno() if self._output is None else self._output
        start, reports = self.start, os.pipe() if self.on_report is not None else None
        if reports is not None:
            start = replace(start, reports=reports[1])
        try:
            self.process = await asyncio.create_subprocess_exec(
                *own_module("muster.worker.worker", self.name),  # the name is for whoever reads `ps`
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                env={**os.environ, **self.env},
                start_new_session=True,
                pass_fds=reports[1:] if reports is not None else (),
            )
        except OSError:
            for pipe in reports or ():
                os.close(pipe)
            raise
        stdin = self.process.stdin
        assert stdin is not None
        stdin.write(msgspec.json.encode(start) + b"\n")  # stays open: its end tells the worker to end
        if reports is not None and self.on_report is not None:
            os.close(reports[1])
            self._listener = asyncio.create_task(_listen(reports[0], self.on_report))

    async def wait(self) -> str:
        """Wait for the end of the process; see `Replica`."""
        # Another start may replace them meanwhile.
        process, output, listener = self.process, self._output, self._listener
        assert process is not None
        status = await process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(
                process.pid, signal.SIGKILL
            )  # what the model has started, and left behind with its memory
        if listener is not None:
            await asyncio.wait([listener], timeout=_LAST_REPORT_SECONDS)
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
        """Have it finish its requests in flight, and leave."""
        if self.running and self.process is not None:
            with contextlib.suppress(ProcessLookupError):
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


async def _listen(pipe: int, hear: Callable[[Report], None]) -> None:
    reader = asyncio.StreamReader(limit=_LONGEST_REPORT)
    transport, _protocol = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb", buffering=0)
    )
    try:
        async for line in reader:
            hear(read_report(line))
    finally:
        transport.close()
