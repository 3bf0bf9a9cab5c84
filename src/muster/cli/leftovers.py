"""Processes that a backend has started and left behind: they end with the command, which says so. Linux only."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from muster.core.saying import tell
from muster.models.keeper import began, end_processes, processes

_PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): orphans among the descendants become this process's children."""
_BY_THEMSELVES_SECONDS = 1.0
"""What they are given to end as their starter has asked them to."""
_GRACE_SECONDS = 2.0
_LOOK_SECONDS = 0.02
_SHOWN = 5
_LONGEST = 100
_PYTHONS_OWN = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
"""They end with this process, and clean up after it."""


def adopt_orphans() -> None:
    """From now on, what the processes that this one starts leave behind is found by `end_leftovers`."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_leftovers() -> None:
    """End what is left of this process's children, and say what it was."""
    if not Path("/proc/self/stat").exists():
        return
    if _children():
        gc.collect()  # what ends them may be part of a cycle that nobody needs any more
    limit = time.monotonic() + _BY_THEMSELVES_SECONDS
    while left := _children():
        if time.monotonic() > limit:
            _tell(left)
            end_processes({pid: began(pid) for pid in left}, _GRACE_SECONDS)
            return
        time.sleep(_LOOK_SECONDS)


def _children() -> dict[int, str]:
    """The command lines of this process's living children, but for Python's own."""
    own = os.getpid()
    found = {
        pid: _command(pid) for pid, (parent, _session) in processes().items() if parent == own and began(pid)
    }
    return {
        pid: command for pid, command in found.items() if not any(name in command for name in _PYTHONS_OWN)
    }


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
    return words.strip()


def _tell(left: dict[int, str]) -> None:
    lines = [f"  {pid}: {command[:_LONGEST]}" for pid, command in list(left.items())[:_SHOWN]]
    more = [f"  and {len(left) - _SHOWN} more"] if len(left) > _SHOWN else []
    what = "a process" if len(left) == 1 else f"{len(left)} processes"
    tell(
        "\n".join(
            (f"muster: the backend, or a library, has left {what} running, to be ended now:", *lines, *more)
        )
    )
