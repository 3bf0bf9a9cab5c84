"""How a command says that it failed."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path

from muster.core import InterruptedRunError, MusterError
from muster.core.saying import tell
from muster.core.text import printable

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
"""Where torchrun looks for what went wrong in a rank; it shows it at the end of all that it prints itself."""

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
        line = f"exit status {status}: {meaning}"
        tell(f"muster: {line}")
        if not Path(os.environ.get(ERROR_FILE, "")).is_file():
            _tell_torchrun(line)


def complain(error: MusterError | InterruptedRunError) -> int:
    """Write the error's message to standard error; returns the exit code."""
    tell(f"muster: {error}")
    _tell_torchrun(str(error))
    return error.exit_code


def _tell_torchrun(message: str) -> None:
    """In the form of torch.distributed.elastic.multiprocessing.errors, but for a traceback, which would be ours."""
    if path := os.environ.get(ERROR_FILE):
        extra = {"timestamp": str(int(time.time()))}
        with suppress(OSError):
            content = {"message": {"message": printable(message), "extraInfo": extra}}
            Path(path).write_text(json.dumps(content), encoding="utf-8")
