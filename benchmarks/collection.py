"""Bringing completions together: streamed to the coordinator as they are made, against one gather at the end.

    python -m benchmarks.collection [--quick]

Real worker processes of the local engine whose backend answers at once with 300 characters; the coordinator's memory
is sampled all the time. The plan (samples and queue) is there before the first answer; what collecting adds to it
must not grow with the number of completions. The alternative is `all_gather_object` over Gloo of the same
completions, which every rank must hold. Exits 1 if collecting adds more than 32 bytes per completion.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from benchmarks.runs import (
    ENVIRONMENT,
    RunFailedError,
    Times,
    launcher,
    measured_run,
    questions,
    scratch,
    write_benchmark,
)
from benchmarks.tables import asked_for_quick, machine, say, table, verdict

CHARACTERS = 300
AIM_BYTES = 32.0
MIB = 1 << 20
SAMPLE_SECONDS = 0.1


@dataclass
class Memory:
    """Resident memory of a process, and of its largest child, while it runs: bytes by Unix time."""

    samples: list[tuple[float, int]] = field(default_factory=list)
    children: list[tuple[float, int]] = field(default_factory=list)

    def watch(self, process: subprocess.Popen[bytes]) -> None:
        """Sample until the process ends, in a thread."""
        threading.Thread(target=self._sample, args=(process.pid,), daemon=True).start()

    def _sample(self, pid: int) -> None:
        try:
            process = psutil.Process(pid)
            while process.status() != psutil.STATUS_ZOMBIE:
                self.samples.append((time.time(), process.memory_info().rss))
                if len(self.samples) % 3 == 0:
                    children = [child.memory_info().rss for child in process.children()]
                    self.children.append((time.time(), max(children, default=0)))
                time.sleep(SAMPLE_SECONDS)
        except psutil.Error:
            return  # it has ended


def most(samples: list[tuple[float, int]], begin: float, end: float) -> int:
    """The most between two times; the nearest sample where none lies between."""
    within = [size for at, size in samples if begin <= at <= end]
    return max(within, default=min(samples, key=lambda sample: abs(sample[0] - begin))[1])


@dataclass(frozen=True, slots=True)
class Streamed:
    """One run; bytes of the coordinator."""

    times: Times
    plan: int
    """When all workers were ready."""
    collecting: int
    """The most until the last answer."""
    scoring: int
    """The most until the end."""
    worker: int
    """The most of any worker."""

    @classmethod
    def measure(cls, folder: Path, completions: int, workers: int) -> Self:
        """Run it."""
        place = folder / str(completions)
        place.mkdir()
        memory = Memory()
        times = measured_run(
            write_benchmark(place, questions(completions, "x")),
            "Instant",
            place / "run",
            engine="local",
            workers=workers,
            watch=memory.watch,
            model_args={"characters": CHARACTERS},
        )
        return cls(
            times,
            plan=most(memory.samples, times.ready - 3 * SAMPLE_SECONDS, times.ready),
            collecting=most(memory.samples, times.ready, times.answered),
            scoring=most(memory.samples, times.answered, times.ended),
            worker=most(memory.children, times.ready, times.answered),
        )

    @property
    def growth(self) -> float:
        """Bytes per completion that collecting added to the plan."""
        return (self.collecting - self.plan) / self.times.requests


@dataclass(frozen=True, slots=True)
class Gathered:
    """One `all_gather_object`; the slowest and the largest rank."""

    seconds: float
    before: int
    peak: int

    @classmethod
    def measure(cls, folder: Path, completions: int, ranks: int) -> Self:
        """Run it."""
        place = folder / f"gather-{ranks}-{completions}"
        place.mkdir()
        program = ["-m", "benchmarks.gather_objects", str(completions), str(CHARACTERS), str(place)]
        done = subprocess.run(
            [*launcher("torchrun", ranks), *program],
            env=os.environ | ENVIRONMENT,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise RunFailedError(done.stderr.decode())
        found = [json.loads((place / f"rank{rank}.json").read_text()) for rank in range(ranks)]
        return cls(*(max(rank[name] for rank in found) for name in ("seconds", "before", "peak")))


def streamed_table(folder: Path, sizes: tuple[int, ...], workers: int) -> list[Streamed]:
    """Muster's runs."""
    runs, lines = [], []
    for completions in sizes:
        run = Streamed.measure(folder, completions, workers)
        runs.append(run)
        seconds = run.times.answered - run.times.ready
        lines.append(
            [
                f"{completions:,}",
                f"{completions / seconds:,.0f}/s",
                f"{run.times.written - run.times.answered:.1f} s",
                *(f"{size / MIB:,.0f}" for size in (run.plan, run.collecting, run.scoring, run.worker)),
                f"{run.growth:.1f}",
            ]
        )
    table(
        f"Streamed to the coordinator by {workers} worker processes; resident MiB",
        (
            *("completions", "rate", "scores and files", "coordinator: plan", "most while collecting"),
            *("most while scoring", "a worker, at most", "collecting, bytes per completion"),
        ),
        lines,
    )
    return runs


def gathered_table(folder: Path, cases: tuple[tuple[int, int], ...]) -> None:
    """The alternative's."""
    lines = []
    for ranks, completions in cases:
        found = Gathered.measure(folder, completions, ranks)
        lines.append(
            [
                str(ranks),
                f"{completions:,}",
                f"{found.seconds:.1f} s",
                f"{completions / found.seconds:,.0f}/s",
                f"{found.before / MIB:,.0f}",
                f"{found.peak / MIB:,.0f}",
                f"{(found.peak - found.before) / completions:,.0f}",
            ]
        )
    table(
        "`all_gather_object` over Gloo; resident MiB of the largest rank",
        ("ranks", "completions", "time", "rate", "before", "at most", "gathering, bytes per completion"),
        lines,
    )


def main() -> int:
    """Print the tables; 1 if the aim was missed."""
    quick = asked_for_quick(__doc__)
    sizes, workers = ((1_000, 5_000), 2) if quick else ((250_000, 500_000, 1_000_000), 16)
    gathers = ((2, 1_000),) if quick else ((16, 250_000), (4, 250_000), (4, 1_000_000))
    print(f"# Collection\n\n{machine()}")
    with scratch() as folder:
        runs = streamed_table(folder, sizes, workers)
        gathered_table(folder, gathers)
    say("The gather comes after the last answer, and everything is lost if a rank dies before it.")
    first, last = runs[0], runs[-1]
    added = (last.collecting - last.plan) - (first.collecting - first.plan)
    each = added / (last.times.requests - first.times.requests)
    say(
        f"From {first.times.requests:,} to {last.times.requests:,} completions, what collecting adds "
        f"grew by {each:.1f} bytes each."
    )
    aim = f"memory for collecting grows by under {AIM_BYTES:.0f} bytes per completion"
    return 0 if verdict(aim, each < AIM_BYTES) else 1


if __name__ == "__main__":
    sys.exit(main())
