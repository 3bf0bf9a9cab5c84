"""Where a request's processor time goes on its way through the torchrun engine, step by step, without sockets.

    python -m benchmarks.request_steps [--quick]

One process does what coordinator and worker do, with production's queue, messages, journal and scores, and takes the
time of each step: short questions that are answered at once, in claims of 16. What `overhead` measures beyond the sum
are sockets, threads and event loops. Exits 1 where the steps alone take 50 µs or more.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec

from benchmarks.overhead import AIM_MICROSECONDS, ANSWER
from benchmarks.peers.serving import make_coordinator
from benchmarks.runs import scratch
from benchmarks.tables import asked_for_quick, machine, table, verdict
from muster.config import load_config
from muster.coordinator.coordinator import Coordinator
from muster.coordinator.workload import Workload
from muster.core import Completion, Usage
from muster.core.encoded import Encoded
from muster.planning import plan
from muster.results.folder import RunFolder
from muster.results.journal import Journal
from muster.results.manifest import Manifest
from muster.results.scoring import score_run
from muster.results.scoring_limits import handled
from muster.scheduling.queue import WorkQueue
from muster.wire.messages import (
    Answers,
    EncodedGrant,
    Grant,
    decode_from_coordinator,
    decode_from_worker,
    encode,
)
from muster.wire.transport import Seal

CLAIM = 16
WORKER = "worker-0"
SAMPLES, PROMPTS = "the samples", "prompts, costs, queue"
CLAIMED, TAKEN = "claim: queue, message, tag", "the worker takes it: tag, message"
ANSWERED, KEPT = (
    "its answer: as JSON, message, tag",
    "taken in: tag, message, check, queue, journal, live score",
)
SCORED = "scores and files"


class Clock:
    """Processor time by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._at = time.thread_time()

    def spent(self, step: str | None = None) -> None:
        """What has passed since the last call was spent on this; None: it isn't counted."""
        now = time.thread_time()
        if step is not None:
            self.seconds[step] = self.seconds.get(step, 0.0) + now - self._at
        self._at = time.thread_time()


def measure(folder: Path, requests: int) -> dict[str, float]:
    """Seconds by step."""
    run = RunFolder(folder / "run")
    run.create()
    clock = Clock()
    with Journal.open(run.journal, "r") as journal:
        coordinator = make_coordinator(folder, requests, 2, journal)
        config = load_config({"model": "demo", "tasks": str(folder / "made_up.yaml")})
        clock.spent()
        planned = plan(config)
        len(planned[0].samples)
        clock.spent(SAMPLES)
        WorkQueue(Workload(planned).items, replicas=2)
        clock.spent(PROMPTS)
        coordinator.join(WORKER, 0, "localhost", 1, 0.0)
        coordinator.ready(WORKER, CLAIM, False, 0.0, 0.0)
        with handled():
            _work_off(coordinator, clock)
    manifest = Manifest.describe(
        run="r", model="demo", backend="x", model_args={}, config={}, planned=planned
    )
    clock.spent()
    score_run(run, planned, manifest=manifest, timing={})
    clock.spent(SCORED)
    return clock.seconds


def _work_off(coordinator: Coordinator, clock: Clock) -> None:
    """Claim and answer until nothing is left."""
    to_worker, from_coordinator, to_coordinator, from_worker = (Seal(b"k") for _ in range(4))
    workload, number = coordinator.workload, 0
    clock.spent()
    while indices := coordinator.claim(WORKER, CLAIM, True, 0.0).indices:
        number += 1
        encoded = [(index, msgspec.Raw(workload.encoded(index))) for index in indices]
        payload = encode(EncodedGrant(number, encoded, "work"))
        tag = to_worker.next_tag(payload)
        clock.spent(CLAIMED)
        assert from_coordinator.fits(tag, payload)
        grant = decode_from_coordinator(payload)
        assert isinstance(grant, Grant)
        clock.spent(TAKEN)
        answers = [
            (
                index,
                Encoded.of(Completion(request.key, ANSWER, usage=Usage(10, 3), finish_reason="stop")).json,
            )
            for index, request in grant.requests
        ]
        payload = encode(Answers(number, answers))
        tag = to_coordinator.next_tag(payload)
        clock.spent(ANSWERED)
        assert from_worker.fits(tag, payload)
        said = decode_from_worker(payload)
        assert isinstance(said, Answers)
        coordinator.answer(WORKER, [(index, Encoded.read(json)) for index, json in said.completions], 0.0)
        clock.spent(KEPT)


def main() -> int:
    """Print the table; 1 if the aim was missed."""
    requests = 500 if asked_for_quick(__doc__) else 20_000
    print(f"# A request's steps\n\n{machine()}")
    found: list[dict[str, float]] = []
    for _ in range(3):
        with scratch() as folder:
            found.append(measure(folder, requests))
    best = {step: min(each[step] for each in found) / requests * 1e6 for step in found[0]}
    rows = [[step, f"{spent:.1f}"] for step, spent in best.items()]
    table(
        f"CPU µs per request, {requests:,} of them, best of three",
        ("step", "µs"),
        [*rows, ["all of these", f"{sum(best.values()):.0f}"]],
    )
    met = sum(best.values()) < AIM_MICROSECONDS
    return 0 if verdict(f"all of these under {AIM_MICROSECONDS:.0f} µs", met) else 1


if __name__ == "__main__":
    sys.exit(main())
