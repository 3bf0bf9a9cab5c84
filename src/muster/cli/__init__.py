"""The command line. Each command is a file of its own and imports what it needs when it runs."""

from __future__ import annotations

import sys

from muster.core import MusterError


def main() -> None:
    """Run `muster`, and turn Muster's own errors into a message and an exit code."""
    from muster.cli.app import app

    try:
        app([_dashes(word) for word in sys.argv[1:]], prog_name="muster")
    except MusterError as error:
        sys.stderr.write(f"muster: {error}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader (`| head`) has enough; Python would complain again at exit
        sys.exit(0)


def _dashes(word: str) -> str:
    """`--model_args=a_b=c`, as lmms-eval's users type it, is `--model-args=a_b=c`."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value
