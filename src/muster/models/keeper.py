"""Ends the processes that a backend has started when this one ends, however it ends.

A process of its own watches over them: it reads from a pipe that breaks when this process is gone, be it killed, and
then ends what it was told to watch, with all that those have started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

GRACE_SECONDS = 5.0
"""Between SIGTERM and SIGKILL, where nothing else is said."""
_LOOK_SECONDS = 0.05


class Keeper:
    """A process that outlives this one by as long as it takes to end what it watches. Linux only; elsewhere nothing."""

    def __init__(self, grace: float = GRACE_SECONDS, folder: Path | None = None) -> None:
        """`grace`: seconds between SIGTERM and SIGKILL. `folder`: removed when they have ended."""
        self._process: subprocess.Popen[bytes] | None = None
        self._grace = grace
        self._watched: dict[int, str] = {}
        if Path("/proc/self/stat").exists():
            from muster.core.own_python import own_script  # the keeper itself has nothing of this

            # A session of its own: whoever kills this process's group must not kill the keeper before its work.
            self._process = subprocess.Popen(
                own_script(__file__, str(grace), *([str(folder)] if folder else [])),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        """The keeper's process."""
        return self._process.pid if self._process is not None else None

    def watch(self, *pids: int) -> None:
        """End these processes, and all that they start, when this process ends."""
        new = set(pids) - self._watched.keys() - {self.pid}
        self._watched |= {pid: began(pid) for pid in new}
        if new and self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it was killed: `close` does its work
                self._process.stdin.write("".join(f"{pid}\n" for pid in new).encode())
                self._process.stdin.flush()

    def close(self) -> None:
        """End what is watched now, also where the keeper itself was killed."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        if process.wait() != 0:
            end_processes(self._watched, self._grace)


def processes() -> dict[int, tuple[int, int]]:
    """Parent and session of every process."""
    found: dict[int, tuple[int, int]] = {}
    for folder in os.listdir("/proc"):  # noqa: PTH208  names are all that is needed
        if folder.isdigit() and (fields := _stat(int(folder))):
            found[int(folder)] = int(fields[1]), int(fields[3])
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold anything; see proc(5)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def began(pid: int) -> str:
    """Since when a process exists, in ticks: the same number may be another process's later. Empty: it doesn't."""
    fields = _stat(pid)
    return fields[19] if fields and fields[0] not in "ZX" else ""


def with_descendants(roots: Iterable[int]) -> set[int]:
    """The processes, those that they have started, and those of their sessions, whose starters may be gone."""
    known = processes()
    found = set(roots)
    while more := {pid for pid, (parent, session) in known.items() if {parent, session} & found} - found:
        found |= more
    return found


def end_processes(watched: dict[int, str], grace: float) -> None:
    """SIGTERM, and SIGKILL after `grace` seconds, for processes with all they have started. Values are of `began`."""
    # One that is gone may have left others in its session, whose number nobody gets while they live.
    roots = [pid for pid, since in watched.items() if began(pid) in ("", since)]
    found = {pid: began(pid) for pid in with_descendants(roots)}
    _signal(found, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while time.monotonic() < deadline and (living := _living(found)):
        for pid in with_descendants(living):
            found.setdefault(pid, began(pid))
        time.sleep(_LOOK_SECONDS)
    _signal(found, signal.SIGKILL)


def _living(processes: dict[int, str]) -> list[int]:
    return [pid for pid, since in processes.items() if since and began(pid) == since]


def _signal(processes: dict[int, str], number: signal.Signals) -> None:
    for pid in _living(processes):
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def main() -> None:
    """The keeper's process: reads process ids, one a line, until there is nobody who could write any."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched: dict[int, str] = {}
    for line in sys.stdin.buffer:
        pid = int(line)
        watched[pid] = began(pid)
    grace, *folders = sys.argv[1:]
    end_processes(watched, float(grace))
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
