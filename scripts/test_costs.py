"""What each test file costs: wall-clock and processor seconds, those of all processes it started included.

    python scripts/test_costs.py [FILE …] [--to COSTS.tsv]

One file after the other, each in a pytest of its own, so that imports count for every file that needs them. Orphans of
a test are adopted and waited for: what they used counts too, and what still runs is killed.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
_PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): orphans below this process become its children."""


class Cost(NamedTuple):
    """Of one file."""

    file: str
    wall: float
    cpu: float
    status: int
    said: str


def measure(file: Path) -> Cost:
    """Run one file's tests."""
    before, began = _children_cpu(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "--no-header", "--basetemp", folder]
        done = subprocess.run(
            [*command, "--durations=12", "--durations-min=1", str(file)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        _reap_orphans()
    return Cost(
        file.name, time.perf_counter() - began, _children_cpu() - before, done.returncode, done.stdout
    )


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _reap_orphans() -> None:
    for file in Path(f"/proc/self/task/{os.getpid()}").glob("children"):
        for pid in file.read_text().split():
            os.kill(int(pid), signal.SIGKILL)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def main() -> None:
    """Measure, file by file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="test files (all of them)")
    parser.add_argument(
        "--to", type=Path, help="a file for a line per test file, and .log for what pytest said"
    )
    asked = parser.parse_args()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    costs: list[Cost] = []
    for file in asked.files or sorted((ROOT / "tests").glob("test_*.py")):
        cost = measure(file)
        costs.append(cost)
        line = f"{cost.file}\t{cost.wall:.1f}\t{cost.cpu:.1f}\t{cost.status}"
        print(line, flush=True)
        if asked.to is not None:
            with asked.to.open("a") as lines, asked.to.with_suffix(".log").open("a") as log:
                lines.write(line + "\n")
                log.write(f"== {cost.file}\n{cost.said}\n")
    print(f"all\t{sum(cost.wall for cost in costs):.1f}\t{sum(cost.cpu for cost in costs):.1f}")


if __name__ == "__main__":
    main()
