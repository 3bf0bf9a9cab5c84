"""How a command says that it failed."""

from __future__ import annotations

from muster.core import InterruptedRunError, MusterError
from muster.core.saying import tell


def complain(error: MusterError | InterruptedRunError) -> int:
    """Write the error's message to standard error; returns the exit code."""
    tell(f"muster: {error}")
    return error.exit_code
