"""One attempt at a run: the processes that one command started, wherever they are, and what part each of them plays."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psutil

MARK = "MUSTER_CHAOS"
"""The environment variable by which an attempt's processes are known, orphans included."""
POLL_SECONDS = 0.02
START: Callable[..., subprocess.Popen[Any]] = subprocess.Popen
"""How processes are started; the tests fork them."""
LAUNCHER_SECONDS = 20.0
"""How long a launcher may take to end after all that it started has ended."""

Part = Literal["launcher", "main", "rank", "worker"]


class Member(NamedTuple):
    """A process of an attempt. `rank` is the launcher's, -1 without one."""

    process: psutil.Process
    part: Part
    rank: int


class Command(NamedTuple):
    """What is started on one host."""

    words: Sequence[str]
    env: Mapping[str, str]


class Ended(NamedTuple):
    """How an attempt ended."""

    by_itself: bool
    """Everything that it had started was gone within the limit, but for a launcher that waits for a lost node's."""
    statuses: tuple[int | None, ...]
    """Of the commands; None where it had to be killed."""


@dataclass
class Attempt:
    """A started command, or one per host."""

    commands: list[subprocess.Popen[Any]]
    said: Path
    """Its standard output and error."""
    actors: Callable[[], list[psutil.Process]]
    """Workers that somebody else started for it (Ray)."""

    @classmethod
    def start(
        cls,
        commands: Sequence[Command],
        said: Path,
        actors: Callable[[], list[psutil.Process]] = list,
    ) -> Attempt:
        """Start one command per host. The name of `said` marks its processes."""
        started = []
        with said.open("ab") as output:
            for command in commands:
                env = {**os.environ, **command.env, MARK: said.name}
                started.append(START(command.words, env=env, stdout=output, stderr=output))
        return cls(started, said, actors)

    def members(self) -> list[Member]:
        """Everything that lives of it, as far as it is Muster or a launcher."""
        found = []
        mark = f"{MARK}={self.said.name}\0".encode()
        for folder in Path("/proc").glob("[0-9]*"):  # far quicker than psutil, and this is asked for often
            with contextlib.suppress(OSError, psutil.Error):
                if mark not in (folder / "environ").read_bytes():
                    continue
                process = psutil.Process(int(folder.name))
                env = process.environ()
                if (part := _part(process.cmdline(), env)) is not None:
                    found.append(Member(process, part, _rank(env)))
        return found

    def coordinator(self) -> list[psutil.Process]:
        """The process that owns the run, if it lives."""
        return [m.process for m in self.members() if m.part == "main" or (m.part == "rank" and m.rank == 0)]

    def workers(self) -> list[psutil.Process]:
        """The processes that hold a model."""
        return [m.process for m in self.members() if m.part == "worker"] + self.actors()

    def ranks(self) -> list[psutil.Process]:
        """The launcher's processes but the coordinator; each keeps a worker going."""
        return [m.process for m in self.members() if m.part == "rank" and m.rank > 0]

    def everything(self) -> list[psutil.Process]:
        """All of it, launchers first, so that none can react to the death of another."""
        return [command_process for command in self.commands if (command_process := _living(command.pid))] + [
            member.process for member in self.members()
        ]

    def alive(self) -> bool:
        """Whether its commands run."""
        return all(command.poll() is None for command in self.commands)

    def wait(self, limit: float) -> Ended:
        """Wait until nothing of it is left; after `limit` seconds kill what is."""
        until = time.monotonic() + limit
        began = False
        only_launchers_since: float | None = None
        while time.monotonic() < until:
            running = [command for command in self.commands if command.poll() is None]
            others = [member for member in self.members() if member.part != "launcher"] or self.actors()
            if not others and not running:
                return self._ended(by_itself=True)
            began = began or bool(others)
            if others or not began or not self._are_launchers(running):
                only_launchers_since = None
            else:
                only_launchers_since = only_launchers_since or time.monotonic()
                if time.monotonic() - only_launchers_since > LAUNCHER_SECONDS:
                    self.kill()
                    return self._ended(by_itself=True)
            time.sleep(0.2)
        self.kill()
        return self._ended(by_itself=False)

    def kill(self) -> None:
        """End all of it."""
        for process in self.everything():
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        for command in self.commands:
            command.wait()

    def _are_launchers(self, running: Sequence[subprocess.Popen[Any]]) -> bool:
        launchers = {member.process.pid for member in self.members() if member.part == "launcher"}
        return all(command.pid in launchers for command in running)

    def _ended(self, *, by_itself: bool) -> Ended:
        killed = -signal.SIGKILL
        statuses = [command.returncode for command in self.commands]
        return Ended(by_itself, tuple(None if status == killed else status for status in statuses))


def _living(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _part(command: Sequence[str], env: Mapping[str, str]) -> Part | None:
    if "torch.distributed.run" in command or command[2:4] == ["muster", "slurm"]:
        return "launcher"
    if "muster.worker.worker" in command:
        return "worker"
    if not command or not Path(command[0]).name.startswith("python") or "muster" not in command:
        return None  # the shell that enters a namespace
    return "rank" if _rank(env) >= 0 else "main"


def _rank(env: Mapping[str, str]) -> int:
    """The launcher's rank; -1 without a launcher. Slurm's batch script is no task of a step."""
    in_step = "SLURM_STEP_ID" in env and env.get("SLURM_STEP_ID", "").isdigit()
    return int(env.get("RANK", env["SLURM_PROCID"] if in_step else -1))
