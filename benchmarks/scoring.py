"""Scoring one million multiple-choice answers from a journal: time and memory.

    python -m benchmarks.scoring [--quick]

Each row is a process of its own that loads the samples, and then scores the journal into `results.json` and
`samples.parquet`, as `muster score RUN` does. The alternative is the loop that one would write by hand,
with the same metric: the answers in a dictionary, a list of JSON rows, one mean. Answers have up to 300
characters. Times are of the processor, since the work is one thread's and the machine may be busy. Exits 1
if scoring by the default convention holds more than 1 KiB per answer beyond the samples.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.runs import scratch
from benchmarks.tables import asked_for_quick, machine, say, table, verdict
from muster.config import load_config
from muster.core import Completion, RequestKey, Usage
from muster.planning import plan
from muster.results.folder import RunFolder
from muster.results.journal import Journal
from muster.results.journal_lines import Record
from muster.results.manifest import Manifest
from muster.results.scoring import score_run

AIM_BYTES = 1024.0
CHOICES = ("a red bicycle", "two small dogs", "the left door", "nothing of these")
SHAPES = (
    "{}",
    "{}.",
    "({})",
    "The answer is {}.",
    "{}. It is what the picture shows{}",
    "I can't tell from this{}",
)
VARIANTS = ("muster", "all")


@dataclass(frozen=True, slots=True)
class Measured:
    """One process."""

    seconds: float
    """Of the processor."""
    beyond_samples: int
    """Most resident bytes while it scored, less those after the samples were loaded."""
    accuracy: float


def prepare(folder: Path, answers: int) -> None:
    """A benchmark, and a run whose journal has all the answers."""
    with (folder / "samples.jsonl").open("w") as lines:
        for number in range(answers):
            row = {
                "id": str(number),
                "question": f"What is in picture {number}?",
                "choices": CHOICES,
                "answer": "B",
            }
            lines.write(json.dumps(row) + "\n")
    (folder / "task.yaml").write_text(
        "name: choices\nsource: {file: samples.jsonl}\nmetric: multiple_choice\n", encoding="utf-8"
    )
    run = RunFolder(folder / "run")
    run.create()
    generator = random.Random(0)
    with Journal.open(run.journal, "r1") as journal:
        for start in range(0, answers, 10_000):
            journal.append_many(
                _record(number, generator) for number in range(start, min(start + 10_000, answers))
            )


def _record(number: int, generator: random.Random) -> Record:
    padding = " and so on" * generator.randrange(28)
    text = generator.choice(SHAPES).format(generator.choice("ABCD"), padding)
    key = RequestKey("choices", str(number), 0)
    return Record(
        Completion(key, text, usage=Usage(300, 4), seconds=0.1, finish_reason="stop"), "rank0", 1.0, 1
    )


def measure(folder: Path, scoring: str) -> Measured:
    """Score the journal in this process."""
    planned = plan(
        load_config({"model": "demo", "tasks": str(folder / "task.yaml"), "scoring": scoring}, env={})
    )
    manifest = Manifest.describe(
        run="r1", model="demo", backend="x", model_args={}, config={}, planned=planned
    )
    before, began = _resident(), time.process_time()
    results = score_run(RunFolder(folder / "run"), planned, manifest=manifest, timing={})
    accuracy = results.tasks["choices"].metrics["accuracy"].value or 0.0
    return Measured(time.process_time() - began, _most() - before, accuracy)


def by_hand(folder: Path) -> Measured:
    """The same without a journal's checksums, intervals, or a table in groups."""
    config = load_config({"model": "demo", "tasks": str(folder / "task.yaml")}, env={})
    (planned,) = plan(config)
    before, began = _resident(), time.process_time()
    with (folder / "run" / "journal.jsonl").open() as lines:
        next(lines)
        read = [json.loads(line)["completion"] for line in lines]
    texts = {completion["key"][1]: completion["text"] for completion in read}
    rows = []
    for sample in planned.samples:
        text = texts[sample.id]
        score = planned.task.metric.score(sample, text)
        rows.append({"id": sample.id, "prediction": text, "scores": dict(score.scores)})
    accuracy = sum(row["scores"]["accuracy"] for row in rows) / len(rows)
    with (folder / "by_hand.jsonl").open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return Measured(time.process_time() - began, _most() - before, accuracy)


def _resident() -> int:
    return _kilobytes("VmRSS") * 1024


def _most() -> int:
    return _kilobytes("VmHWM") * 1024


def _kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def in_a_process(folder: Path, scoring: str | None) -> Measured:
    """Measured in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        job = pool.submit(by_hand, folder) if scoring is None else pool.submit(measure, folder, scoring)
        return job.result()


def compare(answers: int, variants: Sequence[str]) -> bool:
    """The table; whether the aim was met."""
    with scratch() as folder:
        prepare(folder, answers)
        measured = {name: in_a_process(folder, name) for name in variants}
        loop = in_a_process(folder, None)
    rows = {"a loop by hand, muster": loop} | {f"`--scoring {name}`": each for name, each in measured.items()}
    table(
        f"{answers:,} multiple-choice answers, from the journal to results.json and samples.parquet",
        ("", "CPU seconds", "µs per answer", "bytes per answer beyond the samples", "accuracy"),
        [
            [
                name,
                f"{each.seconds:.1f}",
                f"{each.seconds / answers * 1e6:.1f}",
                f"{each.beyond_samples / answers:,.0f}",
                f"{each.accuracy:.4f}",
            ]
            for name, each in rows.items()
        ],
    )
    least = measured[variants[0]].beyond_samples / answers
    return verdict(
        f"scoring holds at most {AIM_BYTES:,.0f} bytes per answer beyond the samples", least <= AIM_BYTES
    )


def main() -> int:
    """Print the table; 1 if the aim was missed."""
    quick = asked_for_quick(__doc__)
    print(f"# Scoring\n\n{machine()}")
    met = compare(2_000 if quick else 1_000_000, VARIANTS)
    say("`all` scores by four conventions at once, with a column of each in the table.")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
