"""`python -u -c CODE` as pytest-xdist starts it, but the process is a fork: most of what tests import is there already.

    python -I -S forked_python.py SOCKET -u -c CODE

It hands its streams on, and ends with the status of what it has had forked.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
from collections.abc import Mapping
from pathlib import Path


def main() -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(sys.argv[1])

        def ask(order: Mapping[str, object], streams: list[int]) -> dict[str, int]:
            socket.send_fds(connection, [json.dumps(order).encode()], streams)
            answer: dict[str, int] = json.loads(connection.recv(1 << 17))
            return answer

        order = {"code": sys.argv[-1], "cwd": str(Path.cwd()), "env": dict(os.environ)}
        pid = ask(order, [0, 1, 2])["pid"]
        ended = select.poll()
        ended.register(os.pidfd_open(pid), select.POLLIN)
        for stream in (0, 1):
            os.close(stream)  # the other end is to see when that process closes them
        ended.poll()
        return os.waitstatus_to_exitcode(ask({"wait": pid}, [])["status"])


if __name__ == "__main__":
    sys.exit(main())
