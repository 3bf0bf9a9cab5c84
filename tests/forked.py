"""Many starts of `muster` for the price of one: a process that has imported it all forks one for each.

As a program it reads one line of JSON per start: `arguments`, `env`, `output`. It answers with the process's id when it
exists, and with its exit status when it has ended.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypedDict


class _Order(TypedDict):
    arguments: list[str]
    env: dict[str, str]
    output: str


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    """Its exit code, 128 and more for a signal that killed it."""
    said: str
    """Standard output and error."""


class Forker:
    """Starts `muster` with real processes, one after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},  # for workers
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> int:
        """Start `muster ARGUMENTS`; returns its process id."""
        self._output = self._folder / "said"
        order = {"arguments": arguments, "env": dict(env or {}), "output": str(self._output)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._number()

    def wait(self) -> Ended:
        """Wait for its end."""
        status = self._number()
        return Ended(status, self._output.read_text(errors="replace"))

    def _number(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def _child(order: _Order) -> None:
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, output), (2, output)):
        os.dup2(source, target)
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests were started by nohup
    os.environ.update(order["env"])
    sys.argv = ["muster", *order["arguments"]]
    from muster.cli import main

    main()


IMPORTED = ["muster.run", "muster.cli.app", "muster.engines.local", "muster.judging.afterwards"]
IMPORTED += (
    "muster.results.statistics",
    "muster.report.terminal",
    "muster.report.displays",
    "muster.report.live",
    "typer._adapters",
)
IMPORTED += (
    "pyarrow.parquet",
    "pandas",
    "pynvml",
    "jinja2",
    "mmap",
    "rich.table",
    "rich.live",
    "scipy.stats",
)


def _import_all() -> None:
    """What a run imports on its way, so that no child has to."""
    for name in IMPORTED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # else the first collection in a child, at its end at the latest, copies all that both share


def serve() -> None:
    """The process."""
    _import_all()
    for line in sys.stdin:
        if not (pid := os.fork()):
            _child(json.loads(line))
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        sys.stdout.write(f"{status if status >= 0 else 128 - status}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
