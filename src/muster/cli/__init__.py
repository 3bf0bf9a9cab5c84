"""The command line. Each command is a file of its own and imports what it needs when it runs."""

from __future__ import annotations

import atexit
import os
import sys

from muster.cli.complaint import complain
from muster.core import MusterError


def main() -> None:
    """Run `muster`, and turn Muster's own errors into a message and an exit code."""
    from muster.cli.app import app

    status = 0
    try:
        app([_dashes(word) for word in sys.argv[1:]], prog_name="muster")
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except MusterError as error:
        status = complain(error)
    except BrokenPipeError:
        sys.stderr.close()  # the reader (`| head`) has enough; Python would complain again at exit
    _end(status)


def _end(status: int) -> None:
    """Exit. Where torch was loaded, without taking the interpreter apart, which takes it another second or two."""
    if "torch" not in sys.modules:
        sys.exit(status)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _dashes(word: str) -> str:
    """`--model_args=a_b=c`, as lmms-eval's users type it, is `--model-args=a_b=c`."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value
