"""All benchmarks with real processes, and their RESULTS files.

    python -m benchmarks                      # about half an hour on two quiet cores
    python -m benchmarks --quick              # two minutes, small sizes, writes nothing
    python -m benchmarks start collection     # only these

Exits 1 if any aim was missed. `balance_simulated` needs no quiet machine and is run on its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

NAMES = (
    "balance_processes", "overhead", "start", "collection", "scoring", "tsv_loading", "api_client",
    "report_page", "view_index", "gate_simulation", "compare_speed",
)  # fmt: skip
FOLDER = Path(__file__).parent


def results_file(name: str) -> Path:
    """Where a benchmark's output is kept."""
    return FOLDER / f"RESULTS-{name.replace('_', '-')}.md"


def run(name: str, *, quick: bool) -> int:
    """Run one, showing its output as it comes, and keep it; its exit status."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *(["--quick"] if quick else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=FOLDER.parent) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            lines.append(line)
    if not quick and process.returncode in (0, 1) and lines:
        lines.insert(1, f"\n    python -m benchmarks.{name}\n")
        results_file(name).write_text("".join(lines))
    return process.returncode


def main() -> int:
    """Run those that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all without one")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: one of {', '.join(NAMES)}")
    statuses = {name: run(name, quick=arguments.quick) for name in arguments.names or NAMES}
    print("\n" + "\n".join(f"{name}: {_said(status)}" for name, status in statuses.items()))
    return max(statuses.values(), default=0)


def _said(status: int) -> str:
    return {0: "aims met", 1: "an aim was MISSED, or it failed"}.get(status, f"failed with {status}")


if __name__ == "__main__":
    sys.exit(main())
