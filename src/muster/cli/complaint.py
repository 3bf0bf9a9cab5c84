"""How a command says that it failed."""

from __future__ import annotations

import sys
from contextlib import suppress

from muster.core import MusterError


def complain(error: MusterError) -> int:
    """Write the error's message to standard error; returns the exit code."""
    with suppress(OSError):  # standard error may go to the very disk that is full
        sys.stderr.write(f"muster: {error}\n")
    return error.exit_code
