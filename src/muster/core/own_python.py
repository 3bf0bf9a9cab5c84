"""The command lines of Muster's own Python children: what lies in the working directory shadows nothing.

`python -m` and `python -c` put the working directory first in the module path, where a user's `queue.py` or `yaml.py`
takes a library's place.
"""

from __future__ import annotations

import sys
from pathlib import Path

SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""The variable that says `-P` to another program's Python, of whatever version, and to what that starts in turn."""


def own_module(module: str, *arguments: str) -> list[str]:
    """`python -P -m MODULE ARGUMENTS`, with everything that is installed."""
    return [sys.executable, "-P", "-m", module, *arguments]


def own_script(file: str | Path, *arguments: str) -> list[str]:
    """A file that needs the standard library only: isolated, without site-packages, in a third of the time."""
    return [sys.executable, "-I", "-S", str(file), *arguments]
