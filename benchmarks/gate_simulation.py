"""How often `muster gate` is wrong, and whether `muster gate plan` promises what happens.

    python -m benchmarks.gate_simulation [--quick]

10,000 simulated pairs of runs in each row. False NO-GO: five tasks of 200 questions, of each of which the new run is
worse by exactly what the policy allows. False GO: it is worse by twice that. Power: the new run is as good as the old
one, and the plan has said how often that will be a GO. Exits 1 where an aim is missed.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.tables import asked_for_quick, machine, table, verdict
from muster.gate.decision import decide
from muster.gate.policy import Policy
from muster.gate.power_plan import TaskAtHand, plan_power
from muster.result_files.loaded import LoadedRun, LoadedTask, row_schema

Scores = NDArray[np.float64]
AIM_WRONG, AIM_POWER = 0.05, 0.01
TASKS, QUESTIONS, MARGIN = 5, 200, 0.05
CHANGED = 0.1
"""Share of the answers that differ between runs that are equally good."""


def run_of(scores: dict[str, Scores]) -> LoadedRun:
    """A run with these scores, by task; shape (questions,) each."""
    tasks = {}
    for name, values in scores.items():
        columns = {each.name: pa.nulls(len(values), each.type) for each in row_schema()}
        columns["id"] = pa.array([str(number) for number in range(len(values))])
        columns["repeat"] = pa.array(np.zeros(len(values), dtype=np.int32))
        columns["score"] = pa.array(values)
        tasks[name] = LoadedTask(name, pa.table(columns, schema=row_schema()), "accuracy", "0-1")
    return LoadedRun("m", Path("run"), "simulated", tasks)


def share_of(wanted: str, drop: float, runs: int, random: np.random.Generator) -> float:
    """How often the verdict is `wanted` where each task's accuracy falls from 0.8 by `drop`."""
    asked = Policy.model_validate({"rules": [{"tasks": ["*"], "max_drop": MARGIN}]})
    found = 0
    for _ in range(runs):
        before = {f"t{task}": (random.random(QUESTIONS) < 0.8).astype(float) for task in range(TASKS)}
        # A right answer is lost with this probability, so that the expected fall is `drop`.
        after = {name: values * (random.random(QUESTIONS) >= drop / 0.8) for name, values in before.items()}
        found += decide(asked, run_of(after), run_of(before)).verdict == wanted
    return found / runs


def power_of(margin: float, questions: int, runs: int, random: np.random.Generator) -> tuple[float, float]:
    """The promised and the simulated share of GO for one task of equally good runs."""
    asked = Policy.model_validate({"rules": [{"tasks": ["*"], "max_drop": margin}]})
    [planned] = plan_power(asked, {"t": TaskAtHand(questions, float(questions), CHANGED)})
    passed = 0
    for _ in range(runs):
        drawn = random.random(questions)  # right before alone, right after alone, else right in both
        before, after = (
            (drawn >= CHANGED / 2).astype(float),
            ((drawn < CHANGED / 2) | (drawn >= CHANGED)).astype(float),
        )
        passed += decide(asked, run_of({"t": after}), run_of({"t": before})).verdict == "GO"
    return planned.go_if_unchanged, passed / runs


def main() -> int:
    """Simulate, print, and say whether the aims were met."""
    quick = asked_for_quick(__doc__)
    runs, random = 200 if quick else 10_000, np.random.default_rng(20261201)
    print("# Gates\n\n" + machine())
    refused = share_of("NO-GO", MARGIN, runs, random)
    passed = share_of("GO", 2 * MARGIN, runs, random)
    table(
        f"Wrong verdicts in {runs:,} simulated runs of {TASKS} tasks of {QUESTIONS} questions, allowed {MARGIN}",
        ["the truth", "verdict", "runs", "share"],
        [
            ["each task is worse by just what is allowed", "NO-GO", f"{runs:,}", f"{refused:.4f}"],
            ["each task is worse by twice that", "GO", f"{runs:,}", f"{passed:.4f}"],
        ],
    )
    rows, gaps = [], []
    for margin, questions in ((0.03, 500), (0.05, 300), (0.02, 2000)):
        promised, real = power_of(margin, questions, runs, random)
        gaps.append(abs(promised - real))
        rows.append([str(margin), str(questions), f"{promised:.4f}", f"{real:.4f}"])
    table(
        f"GO for runs that are equally good, {runs:,} simulated each",
        ["allowed", "questions", "promised", "simulated"],
        rows,
    )
    noise = 3 * math.sqrt(0.25 / runs) if quick else 0.0
    reached = [
        verdict(f"false NO-GO in at most {AIM_WRONG:.0%}", refused <= AIM_WRONG + noise),
        verdict(f"power as promised within {AIM_POWER:.0%}", max(gaps) <= AIM_POWER + noise),
    ]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
