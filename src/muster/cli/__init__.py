"""The command line. Each command is a file of its own and imports what it needs when it runs."""

from __future__ import annotations

import errno
import sys

from muster.cli.abrupt_exit import guard_exit
from muster.cli.complaint import complain
from muster.cli.ending import end
from muster.cli.streams import open_missing_streams
from muster.core import (
    ConfigurationError,
    EndedByCodeError,
    InterruptedRunError,
    MusterError,
    RunError,
    start_up,
)
from muster.core.interruption import interruptible
from muster.core.saying import log_printably


def main() -> None:
    """Run `muster`, and turn Muster's own errors and signals into a message and an exit code."""
    start_up.begin()
    open_missing_streams()
    log_printably()
    guard_exit()
    try:
        with interruptible():
            status = _command()
    except InterruptedRunError as error:
        status = complain(error)
    end(status)


def _command() -> int:
    from muster.cli.app import command

    try:
        command([_dashes(word) for word in sys.argv[1:]], prog_name="muster")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except MusterError as error:
        return complain(error)
    except EndedByCodeError as error:
        return complain(RunError(f"{error}, and so ended this command"))
    except OSError as error:
        # Of whatever was given as a path, or may be one: a model, a task.
        if error.errno == errno.ENAMETOOLONG:
            return complain(ConfigurationError(f"{error.filename}: {error.strerror}"))
        if not isinstance(error, BrokenPipeError):
            raise
        sys.stderr.close()  # the reader (`| head`) has enough; Python would complain again at exit
    return 0


def _dashes(word: str) -> str:
    """`--model_args=a_b=c`, as lmms-eval's users type it, is `--model-args=a_b=c`."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value
