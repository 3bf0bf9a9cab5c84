"""Has a launcher's rank go on when somebody has stopped it: a launcher waits for each of its processes, for ever.

As a script (`python resume_watch.py RANK`) this is a process beside the rank, because one that is stopped does
nothing; a small one, because every rank has it: it imports next to nothing, and ends with its rank.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator

TYPE_CHECKING = False  # what typing has; as a script this imports next to nothing
if TYPE_CHECKING:
    import subprocess

_LOOK_SECONDS = 1.0
_LOOKS = 3
"""Looks in a row that find a process stopped, after which it is to go on."""


def state_and_parent(pid: int | str) -> tuple[str, int]:
    """The state of a process as in `ps`, and the id of its parent; only Linux has it in /proc.

    Raises `OSError`, or `ValueError`, for one that is gone or going.
    """
    # pathlib would cost more than the rest of this module
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:  # noqa: PTH123
        # "pid (command) state ppid …"; the command may have spaces and brackets
        state, parent, *_ = stat.read().rpartition(")")[2].split()
    return state, int(parent)


@contextlib.contextmanager
def resume_when_stopped() -> Iterator[None]:
    """While the context lasts, this process goes on some seconds after it was stopped (SIGSTOP).

    Not where its launcher was stopped too, which somebody has done on purpose; nor where there is no /proc.
    """
    watch = _start()
    try:
        yield
    finally:
        if watch is not None:
            watch.kill()
            watch.wait()


def _start() -> subprocess.Popen[bytes] | None:
    import subprocess

    from muster.core.own_python import own_script

    if not os.path.exists("/proc/self/stat"):  # noqa: PTH110
        return None
    try:
        return subprocess.Popen(
            own_script(__file__, str(os.getpid())), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
    except OSError:
        return None  # a machine that is short of processes has other worries


def main(rank: int) -> None:
    """Look after the process `rank`, this one's parent, until it is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # come to whole groups; the rank may have work to finish
        signal.signal(number, signal.SIG_IGN)
    looks = 0
    with contextlib.suppress(OSError, ValueError):  # it has ended meanwhile
        while os.getppid() == rank:
            state, launcher = state_and_parent(rank)
            stopped = state == "T" and state_and_parent(launcher)[0] != "T"
            looks = looks + 1 if stopped else 0
            if looks == _LOOKS:
                sys.stderr.write(f"process {rank}, a rank, was stopped by a signal: going on\n")
                os.kill(rank, signal.SIGCONT)
                looks = 0
            time.sleep(_LOOK_SECONDS)


if __name__ == "__main__":
    main(int(sys.argv[1]))
