"""Rank 0's last word: ranks that come when all is over are spared the wait for a coordinator.

A process of its own (`python -m muster.distributed.farewell ABSENT SECONDS`), because what c10d needs is too much to
import while an interpreter shuts down.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Mapping

from muster.core import RunError
from muster.distributed import rendezvous
from muster.distributed.environment import read_ranks

log = logging.getLogger(__name__)

_START_SECONDS = 60.0


def say_farewell(absent: int, patience: float, env: Mapping[str, str]) -> None:
    """Tell `absent` ranks, as they come within `patience` seconds, that there is nothing left to join.

    `env` is added to this process's variables; it is rank 0's.
    """
    command = [sys.executable, "-m", "muster.distributed.farewell", str(absent), str(max(0.0, patience))]
    try:
        subprocess.run(
            command,
            env={**os.environ, **env},
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=patience + _START_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.debug("nobody was told that the run is over: %s", error)


def main() -> None:
    """The process."""
    ranks = read_ranks()
    if ranks is not None:
        try:
            rendezvous.announce_end(ranks, int(sys.argv[1]), float(sys.argv[2]))
        except RunError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
