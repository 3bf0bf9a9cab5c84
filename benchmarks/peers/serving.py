"""The coordinator's process of `connections`: the production server, queue and journal, and a plan of short questions.

    python -m benchmarks.peers.serving FOLDER REQUESTS WORKERS SECRET

Prints a line of JSON when it listens ("port"), and one at the end: what it noted every tenth of a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import msgspec

from benchmarks.runs import questions, write_benchmark
from muster.config import load_config
from muster.coordinator.coordinator import Coordinator
from muster.coordinator.progress import Progress, TaskProgress
from muster.coordinator.server import CoordinatorServer
from muster.coordinator.workload import Workload
from muster.planning import plan
from muster.results.journal import Journal
from muster.results.scoring_limits import handled
from muster.scheduling.queue import WorkQueue
from muster.wire.messages import Welcome

NOTE_SECONDS = 0.1
SYNC_SECONDS = 1.0
"""As a run's engine syncs its journal."""


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def make_coordinator(folder: Path, requests: int, workers: int, journal: Journal) -> Coordinator:
    """With so many questions planned."""
    task = write_benchmark(folder, questions(requests, "x"))
    workload = Workload(plan(load_config({"model": "demo", "tasks": str(task)})))
    return Coordinator(
        workload,
        WorkQueue(workload.items, replicas=workers),
        journal,
        Progress([TaskProgress("made_up", requests)]),
        attempt=1,
        worker_timeout=600,
        request_timeout=600,
        load_timeout=600,
        epoch=time.time() - time.monotonic(),
    )


async def serve(coordinator: Coordinator, journal: Journal, secret: bytes) -> list[dict[str, float]]:
    """Serve until everything is answered; the notes."""
    welcome = Welcome("none", msgspec.Raw(b"\x80"), heartbeat_seconds=30, reconnect_seconds=60, session="s")
    server = CoordinatorServer(
        coordinator, welcome, secret, on_log=lambda *_: None, on_broken=lambda *_: None
    )
    port = await server.start("127.0.0.1")
    notes: list[dict[str, float]] = []

    def note() -> None:
        notes.append(
            {
                "at": time.time(),
                "cpu": time.process_time(),
                "resident": resident(),
                "connected": len(server.connected),
                "answered": coordinator.progress.answered,
            }
        )

    note()
    print(json.dumps({"port": port}), flush=True)
    synced = time.monotonic()
    while not coordinator.finished:
        await asyncio.sleep(NOTE_SECONDS)
        note()
        if time.monotonic() - synced > SYNC_SECONDS:
            await asyncio.to_thread(journal.sync)
            synced = time.monotonic()
        if server.error is not None:
            raise server.error
    note()
    await server.close()
    return notes


def main(folder: Path, requests: int, workers: int, secret: bytes) -> None:
    """Serve one plan."""
    with Journal.open(folder / "journal.jsonl", "run") as journal:
        coordinator = make_coordinator(folder, requests, workers, journal)
        with handled():  # as a run has it
            notes = asyncio.run(serve(coordinator, journal, secret))
    print(json.dumps(notes), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), bytes.fromhex(sys.argv[4]))
