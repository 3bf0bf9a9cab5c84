"""What Muster adds to the model's own time, per request.

    python -m benchmarks.overhead [--quick]

First with a backend that answers at once, so that all the time is Muster's, through each engine, against the loop
that one would write by hand: processor time of all processes, as what a longer run takes beyond a shorter one, so that
starting is no part of it and other work on the machine matters little. Then with the demo model: the wall time of a run
after loading, against `model.generate` alone on the very same batches. Exits 1 if the torchrun engine takes 50 µs per
request or more, all in, or the demo run more than 5 % beyond `model.generate`.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benchmarks.runs import measured_run, questions, scratch, write_benchmark
from benchmarks.tables import asked_for_quick, machine, say, table, verdict
from muster.config import load_config
from muster.coordinator.workload import Workload
from muster.core import Request
from muster.planning import plan
from muster.results.folder import RunFolder
from muster.results.manifest import Manifest
from muster.results.scoring import score_run
from muster.scheduling.queue import WorkQueue
from muster.tasks.plan import PlannedTask

AIM_MICROSECONDS = 50.0
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


class Sizes(NamedTuple):
    """Requests of a shorter and of a longer run."""

    shorter: int
    longer: int


def beyond(sizes: Sizes, used_by: Callable[[int], float]) -> float:
    """Microseconds per request that the longer run has more."""
    short, long = map(used_by, sizes)
    return (long - short) / (sizes.longer - sizes.shorter) * 1e6


def used(*whose: int) -> float:
    """Processor seconds so far."""
    each = map(resource.getrusage, whose)
    return sum(usage.ru_utime + usage.ru_stime for usage in each)


def planned_and_scored(folder: Path, tasks: Mapping[int, Path], run: Path) -> tuple[float, float]:
    """Processor seconds for the plan and queue of the larger task, and for the scores and files of a run of it."""
    config = load_config({"model": "demo", "tasks": str(tasks[max(tasks)])})
    began = time.process_time()
    planned = plan(config)
    WorkQueue(Workload(planned).items, replicas=4)
    ready = time.process_time()
    manifest = Manifest.describe(
        run="r", model="demo", backend="x", model_args={}, config={}, planned=planned
    )
    into = RunFolder(folder / "scored")
    into.create()
    before = time.process_time()
    score_run(RunFolder(run), planned, manifest=manifest, timing={}, into=into)
    return ready - began, time.process_time() - before


def through_engine(
    folder: Path, tasks: Mapping[int, Path], engine: str, workers: int, backend: str, repeats: int
) -> float:
    """Processor microseconds per request, of all processes; median of several pairs of runs."""

    def run(requests: int) -> float:
        output = folder / f"{engine}-{workers}-{backend}-{requests}"
        shutil.rmtree(output, ignore_errors=True)
        shutil.rmtree(output.with_name(f"{output.name}-marks"), ignore_errors=True)
        before = used(resource.RUSAGE_CHILDREN)
        measured_run(tasks[requests], backend, output, engine=engine, workers=workers)
        return used(resource.RUSAGE_CHILDREN) - before

    sizes = Sizes(min(tasks), max(tasks))
    return statistics.median(beyond(sizes, run) for _ in range(repeats))


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


def loop_seconds(task: Path, folder: Path) -> float:
    """One process: load, render, answer, score, write."""
    began = used(resource.RUSAGE_SELF)
    (planned,) = plan(load_config({"model": "demo", "tasks": str(task)}))
    by_hand(planned, folder / "loop.jsonl", map(_answer, planned.requests()))
    return used(resource.RUSAGE_SELF) - began


def pool_seconds(task: Path, folder: Path, workers: int) -> float:
    """The same with a process pool whose workers answer one request at a time."""
    began = used(resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        (planned,) = plan(load_config({"model": "demo", "tasks": str(task)}))
        by_hand(planned, folder / "pool.jsonl", pool.map(_answer, planned.requests()))
    return used(resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN) - began


def answers_at_once(sizes: Sizes, repeats: int, engines: Sequence[tuple[str, int, str]]) -> bool:
    """The first table; whether the aim was met."""
    with scratch() as folder:
        tasks = {
            requests: write_benchmark(folder, questions(requests, ANSWER), f"made_up_{requests}")
            for requests in sizes
        }
        loop = beyond(sizes, lambda requests: loop_seconds(tasks[requests], folder))
        pool = beyond(sizes, lambda requests: pool_seconds(tasks[requests], folder, 2))
        lines = [
            ["a loop by hand", "1", f"{loop:.0f}", "1.0"],
            ["a process pool by hand", "2", f"{pool:.0f}", f"{pool / loop:.1f}"],
        ]
        met = True
        for engine, workers, backend in engines:
            found = through_engine(folder, tasks, engine, workers, backend, repeats)
            met &= engine != "torchrun" or found < AIM_MICROSECONDS
            name = engine + (", batches of 32" if backend == "InstantBatches" else "")
            lines.append([name, str(workers), f"{found:.0f}", f"{found / loop:.1f}"])
        run = folder / "{}-{}-{}-{}".format(*engines[0], sizes.longer)
        planning, scoring = planned_and_scored(folder, tasks, run)
    table(
        f"A backend that answers at once: CPU µs per request, of all processes, between runs of {sizes.shorter:,} and "
        f"{sizes.longer:,} requests, median of {repeats}",
        ("engine", "workers", "all in", "over the loop"),
        lines,
    )
    say(
        f"Of these, planning takes {planning / sizes.longer * 1e6:.0f} µs and scores and files "
        f"{scoring / sizes.longer * 1e6:.0f}; the rest is claims, answers and the worker's side."
    )
    return verdict(f"under {AIM_MICROSECONDS:.0f} µs per request through the torchrun engine, all in", met)


def main() -> int:
    """Print the tables; 1 if an aim was missed."""
    quick = asked_for_quick(__doc__)
    print(f"# Overhead\n\n{machine()}")
    met = answers_at_once(*((Sizes(50, 500), 1, QUICK) if quick else (Sizes(5_000, 45_000), 3, ENGINES)))

    from benchmarks.demo_overhead import demo_model

    met &= demo_model(quick=quick)
    say("A run is measured after loading, from the first claim; `generate` alone is the best of three.")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
