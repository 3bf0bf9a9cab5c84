"""How a command says that it failed."""

from __future__ import annotations

from muster.core import InterruptedRunError, MusterError
from muster.core.saying import tell

_MEANINGS = {
    1: "the run failed",
    2: "what was asked for can't be done",
    3: "more samples failed than --max-failures allows",
    124: "--run-timeout was reached",
}


def tell_status(status: int) -> None:
    """Say what an exit status means, for those to whom a launcher shows another: torchrun ends with 1 for all."""
    if status:
        meaning = _MEANINGS.get(status, "a signal stopped the run")
        tell(f"muster: exit status {status}: {meaning}")


def complain(error: MusterError | InterruptedRunError) -> int:
    """Write the error's message to standard error; returns the exit code."""
    tell(f"muster: {error}")
    return error.exit_code
