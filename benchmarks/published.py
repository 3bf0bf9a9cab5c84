"""Scores answers whose scores others have published, and says for every answer where Muster and they part.

    python -m benchmarks.published FOLDER [NAME-PREFIX …]

FOLDER has a `manifest.json`, a list of entries (docs/published.md describes them), and the files that they name. Exits
1 where a published value isn't reached, unless the entry says why it is wrong (`known`).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

_SHOWN = 5


class Entry(msgspec.Struct, kw_only=True):
    """A published value; unknown keys are ignored."""

    name: str
    task: str
    """A task that ships with Muster, or a task file of the folder."""
    predictions: str
    samples: str
    scoring: str
    """The scoring variant."""
    metric: str
    """`NAME`, `BY:KEY:VALUE:NAME` of a breakdown, or `MACRO:KEY:NAME`, the mean over a breakdown's values."""
    published: float
    scale: float = 1
    """What Muster's value is multiplied by before it is compared: 100 for a printed percentage."""
    round_to: int | None = None
    """Digits in print; None: all are compared."""
    authors: str | None = None
    """A file with the authors' own verdicts: `id` and `correct`."""
    source: str = ""
    known: str | None = None
    """Why the printed value is not what the authors' own code of today gives."""


class Scored(NamedTuple):
    """What `muster score` said about one set of answers."""

    task: Mapping[str, Any]
    answers: Sequence[Mapping[str, Any]]


def score(folder: Path, entry: Entry) -> Scored:
    """Run `muster score`. Raises `CalledProcessError` with its message where that fails."""
    task = str(folder / entry.task) if entry.task.endswith((".yaml", ".yml")) else entry.task
    with tempfile.TemporaryDirectory() as temporary:
        rows = Path(temporary) / "answers.jsonl"
        command = [sys.executable, "-m", "muster", "score", "--task", task, "--scoring", entry.scoring]
        command += [
            "--predictions",
            str(folder / entry.predictions),
            "--samples",
            str(folder / entry.samples),
        ]
        done = subprocess.run(
            [*command, "--per-sample", str(rows), "--json"], capture_output=True, text=True, check=False
        )
        if done.returncode not in (0, 3):  # 3: too many answers without a score, which are told below
            raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        results = msgspec.json.decode(done.stdout)
        answers = [msgspec.json.decode(line) for line in rows.read_bytes().splitlines()]
    return Scored(next(iter(results["tasks"].values())), answers)


def value_of(task: Mapping[str, Any], metric: str) -> float:
    """The value that `metric` names. Raises `KeyError` where the results haven't got it."""
    kind, *path = metric.split(":")
    if kind == "MACRO":
        key, name = path
        values = [float(metrics[name]["value"]) for metrics in task["by"][key].values()]
        return sum(values) / len(values)
    if kind == "BY":
        key, value, name = path
        return float(task["by"][key][value][name]["value"])
    return float(task["metrics"][kind]["value"])


def reached(entry: Entry, value: float) -> bool:
    """Whether `value`, scaled, is the published one in all the digits that were printed."""
    if entry.round_to is None:
        return value == entry.published
    return round(value, entry.round_to) == round(entry.published, entry.round_to)


def parted(folder: Path, entry: Entry, scored: Scored) -> Iterator[str]:
    """A line for each answer of which the authors say otherwise."""
    if entry.authors is None:
        return
    lines = (folder / entry.authors).read_bytes().splitlines()
    verdicts = {row["id"]: row["correct"] for row in map(msgspec.json.decode, lines)}
    for answer in scored.answers:
        right = bool((answer.get("scores") or {}).get("accuracy"))
        theirs = verdicts.get(answer["id"])
        if theirs is not None and right != theirs:
            here, there = ("right", "wrong") if right else ("wrong", "right")
            yield f"{answer['id']}: {there} for the authors, {here} here (read: {answer.get('extracted')!r})"


def main() -> int:
    """Print a line for each entry, and the answers that differ below it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="only entries whose name begins so")
    parser.add_argument("--all", action="store_true", help=f"list all answers that differ, not {_SHOWN}")
    given = parser.parse_args()
    entries = msgspec.json.decode((given.folder / "manifest.json").read_bytes(), type=list[Entry])
    known: dict[tuple[str, ...], Scored] = {}
    missed = 0
    for entry in entries:
        if given.names and not entry.name.startswith(tuple(given.names)):
            continue
        key = (entry.task, entry.predictions, entry.samples, entry.scoring)
        try:
            scored = known.setdefault(key, known.get(key) or score(given.folder, entry))
            value = value_of(scored.task, entry.metric) * entry.scale
        except (subprocess.CalledProcessError, KeyError) as error:
            missed += 1
            print(f"ERROR   {entry.name}: {getattr(error, 'stderr', None) or repr(error)}".rstrip())
            continue
        equal = reached(entry, value)
        missed += not equal and entry.known is None
        mark = "equal " if equal else "DIFFERS" if entry.known is None else "known "
        print(f"{mark} {entry.name} ({entry.scoring}): {entry.published} in print, {value} here", flush=True)
        if entry.known and not equal:
            print(f"        {entry.known}")
        differing = list(parted(given.folder, entry, scored))
        for line in differing if given.all else differing[:_SHOWN]:
            print(f"        {line}")
        if len(differing) > _SHOWN and not given.all:
            print(f"        … {len(differing)} of {len(scored.answers)} answers differ (--all)")
    print(f"{missed} of the published values not reached")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
