"""The job's output, read as it grows: from a shared disk, or through the job where there is none."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable
from typing import Protocol

from muster.core import MusterError, RunError
from muster.slurm.commands import client_environment
from muster.slurm.fetch import fetch, step_on_node
from muster.slurm.job_state import JobState
from muster.slurm.submission import Submission

Write = Callable[[bytes], object]
Say = Callable[[str], None]
_END_SECONDS = 5.0
_LAG_SECONDS = 30.0
"""How long a network file system may take to show what a node has written."""


class JobOutput(Protocol):
    """Copies a job's output to this side."""

    def copy(self, state: JobState) -> None:
        """Copy what has come since the last call."""
        ...

    def finish(self, state: JobState | None) -> None:
        """Copy the rest, of a job that is over. `state`: None where Slurm has forgotten it. Raises `MusterError`."""
        ...

    def close(self) -> None:
        """Let go of whatever is held."""
        ...


class SharedOutput:
    """Implements `JobOutput` on a disk that this side sees."""

    def __init__(self, submission: Submission, say: Say, write: Write) -> None:
        self._log, self._say, self._write = submission.log, say, write
        self._offset = 0

    def copy(self, state: JobState | None) -> None:  # noqa: ARG002
        """See `JobOutput`."""
        try:
            with self._log.open("rb") as log:
                log.seek(self._offset)
                new = log.read()
        except FileNotFoundError:
            return  # not started yet
        self._offset += len(new)
        self._write(new)

    def finish(self, state: JobState | None) -> None:
        """See `JobOutput`."""
        limit = time.monotonic() + _LAG_SECONDS
        while state is not None and state.nodes and not self._log.exists():
            if time.monotonic() > limit:
                self._say(
                    f"the job left no output at {self._log}: if the nodes don't see this disk, submit with --fetch and "
                    "an --output on their own"
                )
                break
            time.sleep(0.5)
        self.copy(state)

    def close(self) -> None:
        """Nothing is held."""


class RemoteOutput:
    """Implements `JobOutput` with a step of the job that reads the log on the node; the rest comes with the folder."""

    def __init__(self, submission: Submission, say: Say, write: Write) -> None:
        self._submission, self._say, self._write = submission, say, write
        self._reader: subprocess.Popen[bytes] | None = None
        self._host = ""
        self._offset = 0

    def copy(self, state: JobState) -> None:
        """See `JobOutput`."""
        if state.state == "RUNNING":
            if state.batch_host != self._host:
                self._host, self._offset = state.batch_host, 0  # another node's disk has another log
            if self._reader is None and self._host:
                self._reader = self._start(state)
        if self._reader is None or self._reader.stdout is None:
            return
        while new := self._reader.stdout.read(1 << 16):
            self._offset += len(new)
            self._write(new)
        if self._reader.poll() is not None:
            self.close()

    def finish(self, state: JobState | None) -> None:
        """See `JobOutput`: fetches the run folder."""
        self.close()
        if state is not None and not state.nodes:
            return  # it never ran
        submission = self._submission
        try:
            fetch(submission, state)
        except MusterError as error:
            raise RunError(
                f"{error}. The job is over ({state.describe() if state else 'Slurm has forgotten how'}); `muster slurm "
                f"fetch {submission.folder}` tries again"
            ) from error
        log = submission.here.slurm / submission.log.name
        if log.exists():
            self._write(log.read_bytes()[self._offset :])
        self._say(f"fetched {submission.run} to {submission.folder}")

    def close(self) -> None:
        """End the step."""
        if self._reader is not None:
            with self._reader:
                self._reader.terminate()  # at which srun ends the step
                try:
                    self._reader.wait(_END_SECONDS)
                except subprocess.TimeoutExpired:
                    self._reader.kill()
            self._reader = None

    def _start(self, state: JobState) -> subprocess.Popen[bytes]:
        log = shlex.quote(str(self._submission.log))
        tail = f"exec tail -c +{self._offset + 1} -F {log} 2>/dev/null"
        reader = subprocess.Popen(
            step_on_node(self._submission, state, None, tail),
            env=client_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is ours
        )
        assert reader.stdout is not None
        os.set_blocking(reader.stdout.fileno(), False)
        return reader
