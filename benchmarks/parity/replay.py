"""Replay parity of a toolkit's tasks: its own scores of recorded answers, and Muster's with its code."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.parity.bench import HERE, Bench
from benchmarks.parity.kept import Compared, Kept, Scores, rows

WAYS = (("1 replica", 1), ("4 replicas", 4), ("4, killed and resumed", 4))
BATCH = 32
"""Tasks of one `muster run`: starting a toolkit takes ten seconds and more."""


def replay(bench: Bench, names: Sequence[str], folder: Path) -> list[Kept]:
    """Each of `names`; those that `folder` has are not compared again."""
    done = {name: Kept.load(folder, name) for name in names}
    left = [name for name, kept in done.items() if kept is None]
    for start in range(0, len(left), BATCH):
        print(f"{folder.name}: {len(left) - start} of {len(names)} left", file=sys.stderr)
        batch = left[start : start + BATCH]
        for kept in _compare(bench, batch, folder):
            kept.save(folder)
            done[kept.name] = kept
    return [kept for kept in done.values() if kept is not None]


def _compare(bench: Bench, names: Sequence[str], folder: Path) -> Iterator[Kept]:
    work = folder / "batch"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    beside = [] if bench.checkout is None else [bench.checkout]
    bench.inside("reference", [*beside, work, *names], work / "theirs.log")
    found: dict[str, dict[str, Any]] = {
        name: json.loads((work / f"{name}.json").read_text(encoding="utf-8")) for name in names
    }
    fit = [name for name in names if "error" not in found[name]]
    answers = {task: said for name in fit for task, said in found[name]["answers"].items()}
    mine = _muster(bench, fit, answers, work) if fit else {}
    for name in names:
        if name not in fit:
            yield Kept(name, why=f"the toolkit itself fails: {found[name]['error']}")
            continue
        theirs = {task: numbers(values) for task, values in found[name]["scores"].items()}
        here = {way: {task: scores.get(task, {}) for task in theirs} for way, scores in mine.items()}
        yield Kept(name, found[name]["answers"], theirs, here)


def _muster(
    bench: Bench, names: Sequence[str], answers: Mapping[str, Mapping[str, Any]], work: Path
) -> dict[str, dict[str, Scores]]:
    """Muster's scores, by way of running it and task."""
    file = work / "answers.json"
    file.write_text(json.dumps(answers), encoding="utf-8")
    total = sum(map(len, answers.values()))  # journalled: one for each document
    mine: dict[str, dict[str, Scores]] = {}
    for way, replicas in WAYS:
        output = work / f"run-{len(mine)}"
        log = work / f"muster-{len(mine)}.log"
        killed = "killed" in way
        arguments = [
            *("run", "--model", "recorded", "--backend", f"{HERE / 'replaying.py'}:Replaying"),
            *("--model-args", f"answers={file},pause={0.01 if killed else 0.0}"),
            *("--tasks", ",".join(f"{bench.toolkit}:{name}" for name in names), *bench.options),
            *("--engine", "inline" if replicas == 1 else "local", "--replicas", str(replicas)),
            *("--output", str(output), "--progress", "none", "--max-failures", "1.0"),
        ]
        if killed:
            had = bench.muster_killed(arguments, output / "journal.jsonl", total // 2, log)
            print(f"  killed with {had} of {total} answers", file=sys.stderr)
        bench.muster(arguments, log)
        mine[way] = _muster_scores(output)
    return mine


def _muster_scores(output: Path) -> dict[str, Scores]:
    """Scores by task, and by group where the toolkit has a rule for it."""
    results = json.loads((output / "results.json").read_text(encoding="utf-8"))
    scores: dict[str, Scores] = {
        name.partition(":")[2]: {
            metric: each["value"] for metric, each in task["metrics"].items() if each["value"] is not None
        }
        for name, task in results["tasks"].items()
    }
    for name, group in results["groups"].items():
        own = {metric: each["value"] for metric, each in group["metrics"].items() if metric != "macro_mean"}
        if own:
            scores[name.partition(":")[2]] = own
    return scores


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a task in lmms-eval's table; of a mapping each one, by its key."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found.update(numbers({f"{name}.{key}": each for key, each in value.items()}))
        elif isinstance(value, int | float) and math.isfinite(value):
            found[name] = float(value)
    return found


def table(kept: Sequence[Kept], notes: Mapping[str, str]) -> list[str]:
    """Markdown: a row for each task that has scores, by name."""
    lines = [
        "| task | scores | first | 1 replica, 4 replicas, 4 killed and resumed |",
        "|---|---|---|---|",
    ]
    for row in sorted((row for each in kept for row in rows(each)), key=lambda row: row.name):
        first = next(iter(row.theirs.items()), None)
        shown = f"{first[0]} {first[1]:.6g}" if first else ""
        note = f" ({notes[row.name]})" if row.name in notes else ""
        lines.append(f"| {row.name} | {len(row.theirs)} | {shown} | {verdict(row)}{note} |")
    return lines


def verdict(row: Compared) -> str:
    """`==`, or what is the matter."""
    if row.why:
        return row.why.replace("|", " ").replace("\n", " ")
    return f"**differs** ({', '.join(row.differs)})" if row.differs else "=="
