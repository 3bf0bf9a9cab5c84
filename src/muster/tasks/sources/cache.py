"""Making something of a benchmark's files once, for all processes of this node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from muster.core import ConfigurationError, RunError

LOCK_TIMEOUT = 6 * 3600.0
"""Seconds to wait for another process that downloads or converts; enough for hundreds of gigabytes."""


@contextmanager
def locked(target: Path, what: str) -> Iterator[None]:
    """Only one process of this node at a time is in here for `target`, whose folder is made.

    Raises:
        ConfigurationError: the folder can't be written.
        RunError: another process has been at it for `LOCK_TIMEOUT`.
    """
    lock = target.with_name(f".{target.name}.lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock, timeout=LOCK_TIMEOUT):
            yield
    except Timeout as error:
        raise RunError(
            f"waited {LOCK_TIMEOUT:.0f} s for another process that {what} (lock {lock})"
        ) from error
    except PermissionError as error:
        raise ConfigurationError(
            f"{target.parent} can't be written ({error.strerror}); name another folder with MUSTER_CACHE, and for "
            "benchmarks with --data"
        ) from error
