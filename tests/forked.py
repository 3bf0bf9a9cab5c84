"""`muster` again and again, one after the other, in sessions of their own and with what the tests have to import."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fork_server import ForkedMuster
from processes import DEADLINE


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    """Its exit code, 128 and more for a signal that killed it."""
    said: str
    """Standard output and error."""


class Forker:
    """Starts `muster` with real processes."""

    def __init__(self, folder: Path) -> None:
        self._output = folder / "said"

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> int:
        """Start `muster ARGUMENTS`; returns its process id."""
        variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), **(env or {})}  # for workers
        with self._output.open("wb") as output:
            self._process = ForkedMuster(
                arguments, own_session=True, env=variables, stdout=output, stderr=subprocess.STDOUT
            )
        return self._process.pid

    def wait(self) -> Ended:
        """Wait for its end."""
        status = self._process.wait(DEADLINE)
        return Ended(status if status >= 0 else 128 - status, self._output.read_text(errors="replace"))
