"""The demo model's scores and answers on this device against the CPU's."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.gpu.setting import Setting
from benchmarks.tables import say, table, verdict
from benchmarks.timed_model import timed_run
from muster.results.results import Results


class Way(NamedTuple):
    """How it is asked."""

    device: str
    dtype: str
    batch_size: int | str


def scores_of(results: Results) -> dict[str, float | None]:
    """Every score of every task."""
    return {
        f"{name}/{metric}": found.value
        for name, task in results.tasks.items()
        for metric, found in task.metrics.items()
    }


def measure(setting: Setting) -> bool:
    """Print the table; false if a float32 score differs from the CPU's."""
    folder = setting.place("demo")
    ways = [Way("cpu", "float32", 16), Way("cpu", "float32", 1)]
    if setting.device == "cuda":
        ways = [
            ways[0],
            Way("cuda", "float32", 16),
            Way("cuda", "float32", "auto"),
            Way("cuda", "bfloat16", 16),
        ]
    first: tuple[dict[str, float | None], dict[tuple[str, str], str]] | None = None
    rows, equal = [], True
    for way in ways:
        options: dict[str, object] = {
            "model": "demo",
            "tasks": "digits" if setting.large else "digits_read",
            "batch_size": way.batch_size,
            "model_args": {**setting.args, "device": way.device, "dtype": way.dtype},
        }
        if not setting.large:
            options["limit"] = 8
        done = timed_run(options, folder / "-".join(map(str, way)))
        scores, answers = scores_of(done.results), done.answers
        first = first or (scores, answers)
        same = sum(answers.get(key) == answer for key, answer in first[1].items())
        equal &= scores == first[0] or way.dtype != "float32"
        shown = ", ".join(f"{value:.4f}" for value in scores.values() if value is not None)
        rows.append(
            [*map(str, way), shown, f"{same} of {len(first[1])}", "yes" if scores == first[0] else "no"]
        )
        done.close()
        del done
    table(
        "The demo model",
        ("device", "dtype", "batch size", "scores", "answers as in the first row", "scores equal"),
        rows,
    )
    say("Scores are compared with `==`. In bfloat16 other answers are legitimate: it has eight bits.")
    return verdict("float32 scores equal the CPU's", equal)
