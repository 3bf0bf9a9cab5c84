"""The standard streams as a command finds them, and what happens when one takes nothing more."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from muster.core import RunError


def open_missing_streams() -> None:
    """Open on the null device what was closed before the start (`>&-`).

    Else the next file takes its number, the journal say, and whatever a library prints is written into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  until the end


@contextmanager
def scores_to_stdout() -> Iterator[None]:
    """Flush standard output at the end. Raises `RunError` where it takes nothing more: it goes to a full disk."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python would try again at its end
        raise RunError(
            f"the scores can't be written to standard output ({error.strerror or error}); they are in the run "
            "folder's results.json"
        ) from error
