"""What every benchmark prints: Markdown tables, the machine, and whether an aim was met."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

_PACKAGES = ("muster-eval", "torch", "transformers", "numpy", "pyarrow", "msgspec")


def asked_for_quick(doc: str | None) -> bool:
    """Whether the command line says `--quick`."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: seconds, and numbers to match")
    return bool(parser.parse_args().quick)


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    print(f"\n### {title}\n\n{markdown(header, rows)}", end="", flush=True)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "".join(f"{line}\n" for line in lines)


def say(text: str) -> None:
    """Print a paragraph."""
    print(f"\n{text}", flush=True)


def verdict(aim: str, met: bool) -> bool:
    """Print whether an aim was met, and return it."""
    say(f"**Aim: {aim}: {'met' if met else 'MISSED'}.**")
    return met


def machine() -> str:
    """Date, processor, memory, versions and the load when it is called, as Markdown lines."""
    versions = ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}; {len(os.sched_getaffinity(0))} cores of {_processor()}, {_memory():.0f} GiB; "
        f"load {os.getloadavg()[0]:.1f} at the start; Python {platform.python_version()}, {versions}."
    )


def _memory() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
