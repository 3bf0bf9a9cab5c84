"""Runs that others join, and the `muster worker` processes that do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from processes import DEADLINE, Run, command_of, fake, start_muster


@dataclass
class Joiner:
    """One started `muster worker`."""

    process: subprocess.Popen[str]
    stderr: str = ""

    def wait(self) -> int:
        """Wait for the end and return the exit status; one that doesn't end fails the test."""
        try:
            _stdout, self.stderr = self.process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            self.kill_everything()
            raise AssertionError(f"muster worker hangs\n{self.process.communicate()[1]}") from None
        return self.process.returncode

    def workers(self) -> list[psutil.Process]:
        """The processes that hold its replicas."""
        return [
            child
            for child in psutil.Process(self.process.pid).children(recursive=True)
            if "muster.worker.worker" in command_of(child)
        ]

    def kill_everything(self) -> None:
        """End it and all that it started."""
        root = psutil.Process(self.process.pid)
        for process in [*root.children(recursive=True), root]:
            process.kill()


def join_command(address: str, *options: str, backend: str | None = "Echo") -> list[str]:
    """`muster worker --join ADDRESS`, with agreement to run a fake model."""
    agreed = ["--backend", fake(backend)] if backend else []
    return [sys.executable, "-m", "muster", "worker", "--join", address, *agreed, *options]


def join(
    address: str,
    *options: str,
    secret_file: Path | None = None,
    secret: str | None = None,
    backend: str | None = "Echo",
    env: Mapping[str, str] | None = None,
    around: Sequence[str] = (),
) -> Joiner:
    """Start a joining worker; `secret` goes to its standard input."""
    command = join_command(address, *options, backend=backend)
    if secret_file is not None:
        command += ["--secret-file", str(secret_file)]
    stdin = subprocess.PIPE if secret is not None else subprocess.DEVNULL
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    if around:
        process = subprocess.Popen(
            [*around, *command],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=variables,
        )
    else:
        process = start_muster(*command[3:], env=variables, stdin=stdin)
    if secret is not None:
        assert process.stdin is not None
        process.stdin.write(secret + "\n")
        process.stdin.close()
        process.stdin = None
    return Joiner(process)


def until_open(run: Run) -> Path:
    """Wait until a run can be joined; returns the file with its secret."""
    file = run.output / "join-secret"
    run.until(lambda: file.exists() and file.read_text().strip(), "the secret for joining")
    return file
