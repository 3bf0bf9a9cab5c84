"""What Muster adds to the model's own time, per request.

    python -m benchmarks.overhead [--quick]

First with a backend that answers at once, so that all the time is Muster's, through each engine, against the loop
that one would write by hand. Then with the demo model: the wall time of a run after loading, against `model.generate`
alone on the very same batches. Exits 1 if the torchrun engine takes 150 µs per request or more, all in, or the demo
run more than 5 % beyond `model.generate`.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.runs import measured_run, questions, scratch, write_benchmark
from benchmarks.tables import asked_for_quick, machine, say, table, verdict
from muster.config import load_config
from muster.coordinator.workload import Workload
from muster.core import Request
from muster.planning import plan
from muster.scheduling.queue import WorkQueue
from muster.tasks.plan import PlannedTask

AIM_MICROSECONDS = 150.0
ANSWER = "x" * 8
ENGINES = (
    ("inline", 1, "Instant"),
    ("local", 1, "Instant"),
    ("local", 2, "Instant"),
    ("local", 4, "Instant"),
    ("torchrun", 1, "Instant"),
    ("torchrun", 2, "Instant"),
    ("torchrun", 4, "Instant"),
    ("torchrun", 2, "InstantBatches"),
)
QUICK = (("inline", 1, "Instant"), ("torchrun", 2, "Instant"))


@dataclass(frozen=True, slots=True)
class PerRequest:
    """Microseconds of wall time over requests."""

    planning: float
    """Samples, prompts, costs and queue, before a worker starts."""
    answering: float
    """First claim to last answer: queue, transport, journal, live scores."""
    scoring: float
    """Final scores, results.json and samples.parquet."""

    @property
    def all_in(self) -> float:
        """Their sum."""
        return self.planning + self.answering + self.scoring


def planning_microseconds(task: Path, repeats: int) -> float:
    """What precedes the workers; the same for every engine."""
    config = load_config({"model": "demo", "tasks": str(task)})

    def planned() -> int:
        workload = Workload(plan(config))
        return WorkQueue(workload.items, replicas=4).total

    return min(_microseconds(planned) for _ in range(repeats))


def _microseconds(work: Callable[[], int]) -> float:
    """Of wall time, over the number that `work` returns."""
    began = time.perf_counter()
    count = work()
    return (time.perf_counter() - began) / count * 1e6


def engine_overhead(
    task: Path, folder: Path, engine: str, workers: int, backend: str, planning: float, repeats: int
) -> PerRequest:
    """Medians of several runs."""
    answering, scoring = [], []
    for repeat in range(repeats):
        output = folder / f"{engine}-{workers}-{backend}-{repeat}"
        times = measured_run(task, backend, output, engine=engine, workers=workers)
        answering.append((times.answered - times.ready) / times.requests * 1e6)
        scoring.append((times.written - times.answered) / times.requests * 1e6)
    return PerRequest(planning, statistics.median(answering), statistics.median(scoring))


def by_hand(planned: PlannedTask, output: Path, answers: Iterable[tuple[str, str]]) -> int:
    """Score answers and write them down as JSON lines, without a journal's promises."""
    samples = {sample.id: sample for sample in planned.samples}
    right = 0.0
    with output.open("w") as lines:
        for key, text in answers:
            score = planned.task.metric.score(samples[key], text).scores
            right += sum(score.values())
            lines.write(json.dumps({"id": key, "prediction": text, "scores": dict(score)}) + "\n")
    output.with_suffix(".json").write_text(json.dumps({"score": right / len(samples)}))
    return len(samples)


def _answer(request: Request) -> tuple[str, str]:
    return request.key.sample_id, ANSWER


def loop_microseconds(task: Path, folder: Path) -> float:
    """One process: load, render, answer, score, write."""
    config = load_config({"model": "demo", "tasks": str(task)})

    def loop() -> int:
        (planned,) = plan(config)
        return by_hand(planned, folder / "loop.jsonl", map(_answer, planned.requests()))

    return _microseconds(loop)


def pool_microseconds(task: Path, folder: Path, workers: int) -> float:
    """The same with a process pool whose workers answer one request at a time; without starting it."""
    config = load_config({"model": "demo", "tasks": str(task)})
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        list(pool.map(abs, range(1000)))  # all have started

        def loop() -> int:
            (planned,) = plan(config)
            return by_hand(planned, folder / "pool.jsonl", pool.map(_answer, planned.requests()))

        return _microseconds(loop)


def answers_at_once(requests: int, repeats: int, engines: Sequence[tuple[str, int, str]]) -> bool:
    """The first table; whether the aim was met."""
    lines: list[list[str]] = []
    met = True
    with scratch() as folder:
        task = write_benchmark(folder, questions(requests, ANSWER))
        planning = planning_microseconds(task, repeats)
        loop = min(loop_microseconds(task, folder) for _ in range(repeats))
        lines.append(["a loop by hand", "1", *[""] * 3, f"{loop:.0f}", "1.0"])
        pool = min(pool_microseconds(task, folder, 2) for _ in range(repeats))
        lines.append(["a process pool by hand", "2", *[""] * 3, f"{pool:.0f}", f"{pool / loop:.1f}"])
        for engine, workers, backend in engines:
            found = engine_overhead(task, folder, engine, workers, backend, planning, repeats)
            met &= engine != "torchrun" or found.all_in < AIM_MICROSECONDS
            parts = (found.planning, found.answering, found.scoring, found.all_in)
            name = engine + (", batches of 32" if backend == "InstantBatches" else "")
            lines.append(
                [name, str(workers), *(f"{part:.0f}" for part in parts), f"{found.all_in / loop:.1f}"]
            )
    table(
        f"A backend that answers at once: µs per request, {requests:,} requests, median of {repeats}",
        (
            "engine",
            "workers",
            "planning",
            "first claim to last answer",
            "scores and files",
            "all in",
            "over the loop",
        ),
        lines,
    )
    return verdict(f"under {AIM_MICROSECONDS:.0f} µs per request through the torchrun engine, all in", met)


def main() -> int:
    """Print the tables; 1 if an aim was missed."""
    quick = asked_for_quick(__doc__)
    print(f"# Overhead\n\n{machine()}")
    met = answers_at_once(500, 1, QUICK) if quick else answers_at_once(50_000, 3, ENGINES)

    from benchmarks.demo_overhead import demo_model

    met &= demo_model(quick=quick)
    say("A run is measured after loading, from the first claim; `generate` alone is the best of three.")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
