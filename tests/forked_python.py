"""A Python whose process is a fork: most of what tests import is there already.

    python -I -S forked_python.py SOCKET -u -c CODE         as pytest-xdist starts it
    python -I -S forked_python.py SOCKET -m muster …        as a launcher that isn't written in Python does

It hands its streams and namespaces on, passes signals on, and ends as what it has had forked; that doesn't outlive it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

PASSED_ON = {
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCONT,
}


def main() -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(sys.argv[1])

        def ask(order: Mapping[str, object], streams: list[int]) -> dict[str, int]:
            socket.send_fds(connection, [json.dumps(order).encode()], streams)
            answer: dict[str, int] = json.loads(connection.recv(1 << 17))
            return answer

        order = {"cwd": str(Path.cwd()), "env": dict(os.environ), **what(sys.argv[2:])}
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        pid = ask(order, [0, 1, 2])["pid"]
        if not pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
            os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
        ended = select.poll()
        ended.register(os.pidfd_open(pid), select.POLLIN)
        for number in PASSED_ON:
            signal.signal(number, lambda passed, _frame: os.kill(pid, passed))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        for stream in (0, 1):
            os.close(stream)  # the other end is to see when that process closes them
        ended.poll()
        status = os.waitstatus_to_exitcode(ask({"wait": pid}, [])["status"])
        if status < 0:
            signal.signal(-status, signal.SIG_DFL)
            os.kill(os.getpid(), -status)
        return status


def what(words: list[str]) -> dict[str, object]:
    """The part of the order that says what is to run."""
    if words[0] != "-m":
        return {"code": words[-1]}
    return {"module": words[1], "arguments": words[2:], "own_session": True, "client": os.getpid()}


if __name__ == "__main__":
    sys.exit(main())
