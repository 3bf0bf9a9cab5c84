"""The outcomes of trials: a file that grows by a line with each, and the table that is made of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from benchmarks.chaos.faults import FAULTS
from benchmarks.chaos.trial import ModelName, Outcome

HEADER = (
    *(
        "engine",
        "fault",
        "runs",
        "without help",
        "after one resume",
        "after two",
        "samples lost",
        "scored twice",
    ),
    *(
        "scores that differ",
        "work redone, s: mean, most",
        "ended by itself",
        "exit codes",
        "seconds: mean, most",
    ),
)


def add(file: Path, outcome: Outcome) -> None:
    """Add one."""
    with file.open("ab") as lines:
        lines.write(msgspec.json.encode(outcome) + b"\n")


def kept(file: Path) -> list[Outcome]:
    """All of them; a line that was cut off is left out."""
    if not file.exists():
        return []
    lines = file.read_bytes().splitlines(keepends=True)
    return [msgspec.json.decode(line, type=Outcome) for line in lines if line.endswith(b"\n")]


def rows(outcomes: Iterable[Outcome], model: ModelName, engines: Sequence[str]) -> list[list[str]]:
    """The table's rows for one model, engine by engine, in the order of the faults."""
    groups: defaultdict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.model == model:
            groups[outcome.engine, outcome.fault].append(outcome)
    wanted = [(engine, fault) for engine in engines for fault in FAULTS if (engine, fault) in groups]
    return [_row(*key, groups[key]) for key in wanted]


def _row(engine: str, fault: str, outcomes: Sequence[Outcome]) -> list[str]:
    complete = Counter(outcome.resumes for outcome in outcomes if outcome.complete)
    redone = [outcome.redone_seconds for outcome in outcomes]
    seconds = [outcome.seconds for outcome in outcomes]
    own = sum(outcome.by_itself for outcome in outcomes)
    return [
        engine,
        FAULTS[fault].says,
        str(len(outcomes)),
        *(str(complete[resumes]) for resumes in (0, 1, 2)),
        str(sum(outcome.lost for outcome in outcomes)),
        str(sum(outcome.twice for outcome in outcomes)),
        str(sum(outcome.different for outcome in outcomes)),
        _mean_and_most(redone, 2),
        f"{own} of {len(outcomes)}",
        _exit_codes(outcomes),
        _mean_and_most(seconds, 0),
    ]


def _mean_and_most(values: Sequence[float], digits: int) -> str:
    return f"{sum(values) / len(values):.{digits}f}, {max(values):.{digits}f}"


def _exit_codes(outcomes: Sequence[Outcome]) -> str:
    """Of the last attempt's first command: 3 is a run with a sample given up, -9 the fault itself."""
    codes = Counter(outcome.statuses[-1][0] for outcome in outcomes)
    return ", ".join(f"{'killed' if code is None else code}: {count}" for code, count in codes.most_common())
