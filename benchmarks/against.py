"""This build beside another one, in turn and on the same data: processor time and memory for many requests of one task.

    git worktree add ../before 0b113cf
    python -m benchmarks.against --other ../before [--rows 1000000] [--parts read score] [--write]

Each part is a process of its own (`against_part.py`), once with either build's code on its path and an empty cache.
Times are of the processor, since the machine may be busy. Ratios are this build's figures over the other's. Exits 1
where a target is missed. With `--write` the table goes into RESULTS-against.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.runs import ENVIRONMENT, RunFailedError, questions, scratch, write_benchmark
from benchmarks.tables import machine, markdown
from muster.core import Completion, RequestKey, Usage
from muster.results.folder import RunFolder
from muster.results.journal import Journal
from muster.results.journal_lines import Record

HERE = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("RESULTS-against.md")
WORDS = (
    "what",
    "which",
    "picture",
    "shows",
    "a",
    "red bicycle",
    "two",
    "small",
    "dogs",
    "the",
    "left",
    "door",
)
ANSWERS = ("{}", "{}.", "({})", "The answer is {}.")


@dataclass(frozen=True, slots=True)
class Part:
    """Something that both builds do, and what is aimed at: this build's figures over the other's."""

    name: str
    does: str
    most_time: float | None = None
    most_memory: float | None = None
    memory: str = "peak"
    """Which figure: `peak`, or `resident` at the end."""


PARTS = (
    Part("read-jsonl", "the samples of a JSONL file", 0.15, 0.3),
    Part("read-parquet", "the samples of a parquet file", 0.15, 0.3),
    Part("read-tsv", "the samples of a TSV file", 0.15, 0.3),
    Part("first-jsonl", "the first 100 samples of the JSONL file", None, None),
    Part("first-parquet", "the first 100 samples of the parquet file", None, None),
    Part("first-tsv", "the first 100 samples of the TSV file", None, None),
    Part("queue-made_up", "the plan of as many short questions: prompts and queue", None, 0.35, "resident"),
    Part("queue-jsonl", "the plan of as many multiple-choice questions", None, 0.35, "resident"),
    Part("score", "the journal's answers to results.json and samples.parquet", 0.4, 0.35),
    Part("resume", "finding out what is left of a run that has all answers", 0.4, None),
)


def prepare(folder: Path, rows: int) -> None:
    """One multiple-choice benchmark in three forms, short questions, and a journal with all answers of the first."""
    columns: dict[str, list[str]] = {name: [] for name in ("id", "question", *"ABCD", "answer", "category")}
    with (folder / "jsonl.jsonl").open("w") as lines:
        for row in _made_up(rows):
            lines.write(json.dumps(row) + "\n")
            for letter, choice in zip("ABCD", row["choices"], strict=True):
                columns[letter].append(choice)
            for name in ("id", "question", "answer", "category"):
                columns[name].append(str(row[name]))
    pq.write_table(pa.table(columns), folder / "parquet.parquet")
    with (folder / "tsv.tsv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    for form in ("jsonl", "parquet", "tsv"):
        (folder / f"{form}.yaml").write_text(
            f"name: choices_{form}\nsource: {{file: {form}.{form}}}\nmetric: multiple_choice\n"
            "generation: {max_new_tokens: 8}\nby: [category]\n"
        )
    write_benchmark(folder, questions(rows, "x"))
    run, chance = RunFolder(folder / "run"), random.Random(1)
    run.create()
    with Journal.open(run.journal, "r1") as journal:
        for number in sorted(range(rows), key=lambda number: number + chance.randrange(2000)):
            text = chance.choice(ANSWERS).format(chance.choice("ABCD"))
            key = RequestKey("choices_jsonl", f"q{number}", 0)
            answer = Completion(key, text, usage=Usage(300, 4), seconds=0.1, finish_reason="stop")
            journal.append(Record(answer, "rank0", 1.0, 1))


def _made_up(rows: int) -> Iterator[dict[str, str | list[str]]]:
    chance = random.Random(0)
    for number in range(rows):
        yield {
            "id": f"q{number}",
            "question": f"Question {number}: {' '.join(chance.choices(WORDS, k=4))}?",
            "choices": [" ".join(chance.choices(WORDS, k=2)) for _ in "ABCD"],
            "answer": chance.choice("ABCD"),
            "category": chance.choice(["reading", "counting", "colours"]),
        }


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one process."""

    cpu: float
    peak: int
    resident: int

    def memory(self, part: Part) -> int:
        """The one that counts for this part."""
        return self.resident if part.memory == "resident" else self.peak


def measure(checkout: Path, part: Part, folder: Path) -> Figures:
    """One part with a checkout's code. Raises `RunFailedError` with its own words."""
    cache = folder / f"cache-{part.name}-{checkout.name}"
    done = subprocess.run(
        [sys.executable, str(HERE / "benchmarks" / "against_part.py"), part.name, str(folder)],
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(checkout / "src"), "MUSTER_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RunFailedError(f"{checkout}: {part.name}\n{done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Figures(found["cpu"], found["peak"], found.get("resident", found["peak"]))


def compare(other: Path, parts: Sequence[Part], rows: int) -> tuple[str, bool]:
    """The table, and whether all targets were met."""
    lines: list[list[str]] = []
    met = True
    with scratch() as folder:
        prepare(folder, rows)
        for part in parts:
            before, now = measure(other, part, folder), measure(HERE, part, folder)
            time, memory = now.cpu / before.cpu, now.memory(part) / before.memory(part)
            met &= time <= (part.most_time or time) and memory <= (part.most_memory or memory)
            lines.append(
                [
                    part.does,
                    f"{before.cpu:.2f}",
                    f"{now.cpu:.2f}",
                    f"{time:.2f}",
                    "" if part.most_time is None else f"{part.most_time:g}",
                    f"{before.memory(part) / 2**20:,.0f}",
                    f"{now.memory(part) / 2**20:,.0f}",
                    f"{memory:.2f}",
                    "" if part.most_memory is None else f"{part.most_memory:g}",
                ]
            )
    header = ["", "CPU s before", "now", "ratio", "at most", "MiB before", "now", "ratio", "at most"]
    return markdown(header, lines), met


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where a target was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--other", type=Path, required=True, help="a checkout of the other build")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument(
        "--parts", nargs="+", default=[part.name for part in PARTS], help="names, or beginnings"
    )
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args(arguments)
    chosen = [part for part in PARTS if part.name.startswith(tuple(options.parts))]
    table, met = compare(options.other.resolve(), chosen, options.rows)
    aim = f"**Aim: every ratio at most what stands beside it: {'met' if met else 'MISSED'}.**"
    text = (
        f"# This build beside another\n\n    python -m benchmarks.against --other CHECKOUT --rows {options.rows}\n\n"
        f"{machine()}\n\n### {options.rows:,} rows\n\n{table}\n{aim}\n"
    )
    print(text)
    if options.write:
        RESULTS.write_text(text)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
