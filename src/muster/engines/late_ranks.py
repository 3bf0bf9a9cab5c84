"""Rank 0's last word: ranks that come when all is answered are spared the wait for a coordinator.

A process of its own (`python -m muster.engines.late_ranks ABSENT`), because what c10d needs is too much to import
while an interpreter shuts down, and because rank 0 may still have something else to wait for. It ends when told, or
when rank 0 does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import subprocess
import sys
from collections.abc import Mapping

from muster.coordinator.listener import Entry, Listener
from muster.core import RunError
from muster.core.own_python import own_module
from muster.machine import rendezvous
from muster.machine.given_coordinator import GivenCoordinator, given_coordinator
from muster.machine.ranks import read_ranks
from muster.wire.messages import Hello, Stop, decode_from_worker, encode
from muster.wire.transport import Channel

log = logging.getLogger(__name__)

_START_SECONDS = 60.0
_LOOK_SECONDS = 0.1


class LateRanks:
    """Said from now on, until all have heard it or `end`."""

    def __init__(self, absent: int, env: Mapping[str, str]) -> None:
        """Tell `absent` ranks, as they come, that there is nothing left to join.

        `env` is added to this process's variables; it is rank 0's.
        """
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(
                own_module("muster.engines.late_ranks", str(absent)),
                env={**os.environ, **env},
                stdin=subprocess.PIPE,  # its end is this process's
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            log.debug("nobody is told that the run is over: %s", error)

    def end(self, patience: float) -> None:
        """Give those that still don't come `patience` seconds, and leave nothing behind."""
        if self._process is None:
            return
        with self._process as process, contextlib.suppress(subprocess.TimeoutExpired):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(_START_SECONDS)
            finally:
                process.kill()


def _stay() -> bool:
    """Wait a moment; False when rank 0 has had enough, or is gone."""
    return not select.select([sys.stdin], [], [], _LOOK_SECONDS)[0]


async def _answer_in_its_place(given: GivenCoordinator, absent: int) -> None:
    """Where the coordinator listened, tell whoever introduces itself that the run is over."""
    told: set[str] = set()

    async def serve(channel: Channel, _entry: Entry) -> None:
        payload = await channel.receive()
        first = decode_from_worker(payload) if payload is not None else None
        channel.send(encode(Stop("over", "rank 0 has ended, and left nothing to do")))
        await channel.drain()
        if isinstance(first, Hello):
            told.add(first.worker)

    listener = Listener(serve)
    await listener.listen(given.listen_host(), given.endpoint.port, Entry(given.key))
    while len(told) < absent and await asyncio.to_thread(_stay):
        pass
    await listener.close()


def main() -> None:
    """The process."""
    ranks, absent = read_ranks(), int(sys.argv[1])
    if ranks is None:
        return
    try:
        if (given := given_coordinator()) is not None:
            asyncio.run(_answer_in_its_place(given, absent))
        else:
            rendezvous.announce_end(ranks, absent, _stay)
    except (OSError, RunError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
