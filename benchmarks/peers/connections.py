"""The real coordinator with 4,096 connected workers on one machine: completions per second, and memory.

    python -m benchmarks.peers.connections            # some minutes
    python -m benchmarks.peers.connections --quick    # 64 workers, seconds

The coordinator is a process of its own: production's server, queue, journal (synced every second) and handshake. The
workers are sockets of another process that answer at once, so the coordinator is always the one that is waited for.
What counts is the coordinator's own processor time, which other work on the machine disturbs least: completions per
second of it are what one core sustains. Exits 1 if that is under 50,000 with claims of 16.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers.light_workers import connect, work
from benchmarks.runs import scratch
from benchmarks.tables import asked_for_quick, machine, say, table, verdict
from muster.core.open_files import allow_files
from muster.results.journal_read import completed_keys

AIM = 50_000
CLAIMS = (1, 4, 16)
"""Requests at a time: one where answers end far apart, more where a worker has many in flight."""
MOST_SECONDS = 600.0
KIB = 1024


class Found(NamedTuple):
    """One plan, worked off."""

    first_claims: float
    """Seconds until every worker had its first claim."""
    first_cpu: float
    """Of the coordinator, until then."""
    rate: float
    """Completions per second."""
    cpu_rate: float
    """Per second of the coordinator's processor time."""
    per_connection: float
    """Bytes."""
    per_completion: float
    """Bytes."""


def measure(folder: Path, workers: int, requests: int, claim: int) -> Found:
    """Serve one plan. Raises `SystemExit` where an answer is missing."""
    folder.mkdir()
    secret = secrets.token_bytes(32)
    command = [sys.executable, "-m", "benchmarks.peers.serving", str(folder), str(requests), str(workers)]
    with subprocess.Popen([*command, secret.hex()], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = json.loads(process.stdout.readline() or "{}").get("port")
            if port is None:
                raise SystemExit("the coordinator did not start")
            began = time.time()
            there = connect(("127.0.0.1", port), secret, workers, claim)
            ready = time.time()
            answered = work(there, time.monotonic() + MOST_SECONDS)
            notes = json.loads(process.stdout.readline() or "[]") if answered >= requests else []
            for worker in there:
                worker.close()
        finally:
            process.kill()
    kept = len(completed_keys(folder / "journal.jsonl"))
    if kept != requests:
        raise SystemExit(
            f"{kept} of {requests} answers are in the journal after {MOST_SECONDS:.0f} s at most"
        )
    return _found(notes, began, ready)


def _found(notes: list[dict[str, float]], began: float, ready: float) -> Found:
    start = max((note for note in notes if note["at"] <= ready), key=lambda note: note["at"])
    end = notes[-1]
    done = end["answered"] - start["answered"]
    return Found(
        ready - began,
        start["cpu"] - notes[0]["cpu"],
        done / (end["at"] - start["at"]),
        done / (end["cpu"] - start["cpu"]),
        (start["resident"] - notes[0]["resident"]) / max(note["connected"] for note in notes),
        (end["resident"] - start["resident"]) / done,
    )


def main() -> int:
    """Print the table; 1 if the aim was missed."""
    quick = asked_for_quick(__doc__)
    workers = 64 if quick else 4096
    allow_files(workers + 1000)
    print(f"# The coordinator with {workers:,} workers\n\n{machine()}", flush=True)
    rows, rates = [], {}
    with scratch() as folder:
        for claim in CLAIMS:
            requests = workers * claim * {1: 8, 4: 6, 16: 3}[claim]
            found = measure(folder / str(claim), workers, requests, claim)
            rates[claim] = found.cpu_rate
            rows.append([
                f"{claim}", f"{requests:,}", f"{found.first_claims:.1f} s ({found.first_cpu:.1f} s)",
                f"{found.rate:,.0f}", f"{found.cpu_rate:,.0f}", f"{1e6 / found.cpu_rate:.0f} µs",
                f"{found.per_connection / KIB:.1f} KiB", f"{found.per_completion:.0f} B",
            ])  # fmt: skip
    table(
        f"{workers:,} connections",
        (
            "requests per claim", "requests", "until all had their first claim (of it, the coordinator's CPU)",
            "completions/s", "per CPU second", "CPU each", "memory per connection", "per completion",
        ),
        rows,
    )  # fmt: skip
    say(
        "Every answer was in the journal at the end. Both sides share the cores, with all else that runs there."
    )
    met = rates[CLAIMS[-1]] >= AIM
    return 0 if verdict(f"{AIM:,} completions per CPU second with claims of {CLAIMS[-1]}", met) else 1


if __name__ == "__main__":
    sys.exit(main())
