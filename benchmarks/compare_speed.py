"""How fast runs are compared: `muster compare` beside the same differences by pandas and scipy.

    python -m benchmarks.compare_speed [--quick]

Two runs of 50,000 answers each, and ten, as run folders (results.json, samples.parquet). The other side is what one
writes without Muster: pandas reads the same files, merges by id, and scipy does a paired t-test, a cluster bootstrap of
the mean difference (999 resamples, as many as its percentiles need) and the sign-flip permutation test of the clusters'
sums (9,999, its default), which Muster does exactly. Whole processes, imports included; processor time and peak memory
by the kernel's count. Exits 1 where an aim is missed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.runs import scratch
from benchmarks.tables import asked_for_quick, machine, say, table, verdict

AIM_SECONDS_TWO, AIM_SECONDS_TEN, AIM_MIB, AIM_RATIO = 2.0, 8.0, 300, 5.0

BY_PANDAS = """
import sys
import numpy as np
import pandas as pd
from scipy import stats

first, *others = [pd.read_parquet(f"{path}/samples.parquet") for path in sys.argv[1:]]
for other in others:
    both = first.merge(other, on=["task", "id", "repeat"])
    difference = both["scores_y"].map(lambda s: s["accuracy"]) - both["scores_x"].map(lambda s: s["accuracy"])
    print(stats.ttest_1samp(difference, 0).confidence_interval())
    sums = difference.groupby(both["cluster_x"]).agg(["sum", "size"]).to_numpy()
    def statistic(sum_, size, axis=-1):
        return sum_.sum(axis) / size.sum(axis)
    found = stats.bootstrap(
        (sums[:, 0], sums[:, 1]), statistic, paired=True, vectorized=True, n_resamples=999, batch=50,
        method="percentile",
    )
    print(found.confidence_interval)
    # Answers about one image are not independent: whole clusters change their sign.
    flipped = stats.permutation_test(
        (sums[:, 0],), lambda x, axis=-1: x.sum(axis), permutation_type="samples", vectorized=True, n_resamples=9999,
        batch=100,
    )
    print(flipped.pvalue)
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one process."""

    seconds: float
    cpu: float
    mib: float


def write_run(folder: Path, rows: int, seed: int) -> Path:
    """A run folder with that many answers, four to an image."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    (folder / "journal.jsonl").touch()
    right = (np.random.default_rng(0).random(rows) < 0.7) ^ (random.random(rows) < 0.05)
    pq.write_table(
        pa.table(
            {
                "task": pa.array(["synthetic"] * rows),
                "id": [str(number) for number in range(rows)],
                "repeat": pa.array(np.zeros(rows, dtype=np.int32)),
                "question": [
                    f"What is shown in picture {number // 4}, part {number % 4}?" for number in range(rows)
                ],
                "answers": [["A"]] * rows,
                "prediction": ["The answer is A." if each else "The answer is B." for each in right],
                "extracted": ["A" if each else "B" for each in right],
                "scores": pa.StructArray.from_arrays([pa.array(right.astype(float))], ["accuracy"]),
                "cluster": [f"sample:{number // 4}" for number in range(rows)],
                "tokens": pa.array(np.full(rows, 5)),
                "metadata": [f'{{"category":"c{number % 7}"}}' for number in range(rows)],
            }
        ),
        folder / "samples.parquet",
        row_group_size=4096,
        compression="zstd",
    )
    mean = {"value": float(right.mean()), "unit": "0-1", "n": rows}
    counts = {"requested": rows, "succeeded": rows, "errored": 0, "errors": {}}
    scored = {"version": 1, "metric": "multiple_choice", "metric_variant": "muster", "metric_version": 1}
    task = scored | {
        "primary": "accuracy",
        "samples": counts,
        "metrics": {"accuracy": mean},
        "answer_score": "accuracy",
    }
    results = {
        "schema": 1,
        "run": str(seed),
        "model": f"m{seed}",
        "complete": True,
        "tasks": {"synthetic": task},
    }
    manifest = {
        "schema": 1, "run": str(seed), "model": f"m{seed}", "config": {}, "fingerprint": {"name": f"m{seed}"},
        "tasks": {}, "muster": "0", "created": 0.0,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def cost(command: list[str]) -> Cost:
    """Run a command to its end."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise SystemExit(f"{command[:4]} failed with {status}")
    return Cost(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def main() -> int:
    """Measure, print, and say whether the aims were met."""
    quick = asked_for_quick(__doc__)
    rows, rounds = (2_000, 1) if quick else (50_000, 3)
    print("# Comparing runs\n\n" + machine())
    met = []
    lines = []
    with scratch() as folder:
        runs = [write_run(folder / str(number), rows, number) for number in range(10)]
        script = folder / "by_pandas.py"
        script.write_text(BY_PANDAS)
        for count, aim in ((2, AIM_SECONDS_TWO), (10, AIM_SECONDS_TEN)):
            paths = [str(path) for path in runs[:count]]
            ours = [
                cost([sys.executable, "-m", "muster", "compare", *paths, "--json"]) for _ in range(rounds)
            ]
            # Ten by pandas take minutes: once is enough for a ratio.
            theirs = [cost([sys.executable, str(script), *paths]) for _ in range(rounds if count == 2 else 1)]
            mine, other = min(ours, key=lambda each: each.cpu), min(theirs, key=lambda each: each.cpu)
            ratio = other.cpu / mine.cpu
            lines.append(
                [
                    f"{count} runs of {rows:,}",
                    f"{mine.cpu:.2f}",
                    f"{mine.seconds:.2f}",
                    f"{mine.mib:.0f}",
                    f"{other.cpu:.2f}",
                    f"{other.mib:.0f}",
                    f"{ratio:.1f}",
                ]
            )
            if not quick:
                met.append((f"{count} runs in under {aim:g} s of processor time", mine.cpu < aim))
                if count == 2:
                    met.append((f"{count} runs in under {AIM_MIB} MiB", mine.mib < AIM_MIB))
                met.append(
                    (
                        f"at least {AIM_RATIO:g} times faster than pandas and scipy ({count} runs)",
                        ratio >= AIM_RATIO,
                    )
                )
    header = ["what", "Muster: CPU s", "wall s", "MiB", "pandas and scipy: CPU s", "MiB", "ratio of CPU time"]
    table("Whole processes, best of the rounds", header, lines)
    say(
        "Both print differences, intervals and p-values; Muster's also settings, flips and categories' columns."
    )
    reached = [verdict(aim, true) for aim, true in met]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
