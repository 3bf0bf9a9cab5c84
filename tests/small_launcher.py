"""A launcher as torchrun is one, in a fiftieth of the time: for tests of what Muster does under any.

    python small_launcher.py COUNT [--world W --first F] [--at HOST:PORT --secret FILE] [--restarts N] ARGUMENTS

starts `python ARGUMENTS` COUNT times with rank variables, and ends them all when one fails; restarts them all as often
as it may. The ranks meet by `MUSTER_COORDINATOR`, without torch. With `--world` these are the ranks from `--first` on
of a larger world.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from types import FrameType

LOOK_SECONDS = 0.02
KILL_SECONDS = 30.0
"""torchrun's: from SIGTERM to SIGKILL."""


class Group:
    """The ranks of one attempt."""

    def __init__(self, asked: argparse.Namespace, env: dict[str, str]) -> None:
        self._asked, self._env = asked, env
        self._ranks: list[subprocess.Popen[bytes]] = []
        self.signalled = 0

    def start(self, attempt: int) -> None:
        count = self._asked.count
        self._ranks = [
            subprocess.Popen(
                [sys.executable, *self._asked.arguments],
                env={
                    **os.environ,
                    **self._env,
                    "RANK": str(self._asked.first + local),
                    "WORLD_SIZE": str(self._asked.world or count),
                    "LOCAL_RANK": str(local),
                    "LOCAL_WORLD_SIZE": str(count),
                    "TORCHELASTIC_RESTART_COUNT": str(attempt),
                },
            )
            for local in range(count)
        ]

    def pass_on(self, number: int, _frame: FrameType | None) -> None:
        self.signalled = number
        for rank in self._ranks:
            rank.send_signal(number)

    def succeeds(self) -> bool:
        """Wait until all have ended, or end the others when one has failed."""
        while any(rank.poll() is None for rank in self._ranks):
            if any(rank.returncode for rank in self._ranks) and not self.signalled:
                self._end()
            time.sleep(LOOK_SECONDS)
        for rank in self._ranks:
            if rank.returncode:
                sys.stderr.write(f"small launcher: {rank.pid} ended with exitcode  : {rank.returncode}\n")
        return not any(rank.returncode for rank in self._ranks)

    def _end(self) -> None:
        for rank in self._ranks:
            rank.terminate()
        limit = time.monotonic() + KILL_SECONDS
        for rank in self._ranks:
            try:
                rank.wait(max(0.0, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                rank.kill()


def hold_port() -> socket.socket:
    """A socket whose port nobody else is given; who sets SO_REUSEADDR, as servers do, can listen there."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("--world", type=int)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--at")
    parser.add_argument("--secret")
    parser.add_argument("--restarts", type=int, default=0)
    asked, arguments = parser.parse_known_args()
    asked.arguments = arguments
    with hold_port() as held, tempfile.NamedTemporaryFile("w", prefix="muster-secret-") as made:
        made.write(secrets.token_hex())
        made.flush()
        env = {
            "MUSTER_COORDINATOR": asked.at or f"127.0.0.1:{held.getsockname()[1]}",
            "MUSTER_COORDINATOR_SECRET_FILE": asked.secret or made.name,
        }
        group = Group(asked, env)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, group.pass_on)
        for attempt in range(asked.restarts + 1):
            group.start(attempt)
            if group.succeeds():
                return 0
            if group.signalled:
                break
        return 1


if __name__ == "__main__":
    sys.exit(main())
