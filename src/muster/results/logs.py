"""Logs of workers, which say what they like: each has a bound, and its end is kept."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from muster.results.folder import RunFolder

MOST_BYTES = 64 << 20
"""Of one log, looked at twice a second."""
KEPT_BYTES = 16 << 20


def bound_logs(folder: RunFolder) -> None:
    """Shorten every log of the folder that has grown too long. They are opened for appending, and may be so further."""
    with suppress(OSError):  # of a log that can't be shortened nothing depends
        for log in folder.logs.glob("*.log"):
            if log.stat().st_size > MOST_BYTES:
                _shorten(log)


def _shorten(log: Path) -> None:
    with log.open("r+b") as file:
        file.seek(-KEPT_BYTES, 2)
        file.readline()
        tail = file.read()
        file.truncate(0)
    with log.open("ab") as file:
        file.write(
            f"[what came before was removed: a log has at most {MOST_BYTES >> 20} MiB]\n".encode() + tail
        )
