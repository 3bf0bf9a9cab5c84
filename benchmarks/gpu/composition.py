"""Do greedy answers change with the batch that they are made in? In float32 and in bfloat16, alone against together.

The large model's weights are random, so its two best tokens lie closer together than a trained model's: it shows the
most that can happen. The demo model is trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from benchmarks.gpu.questions import write_questions
from benchmarks.gpu.setting import FAMILY, Setting
from benchmarks.random_models import SIZES
from benchmarks.tables import say, table, verdict
from benchmarks.timed_model import NO_END, timed_run

ANSWER = 16


class Subject(NamedTuple):
    """A model and what it is asked."""

    name: str
    model: str
    tasks: str
    limit: int | None
    batch: int


def answers(
    subject: Subject, setting: Setting, dtype: str, way: tuple[str, int], output: Path
) -> dict[tuple[str, str], str]:
    """Of one run."""
    batching, batch = way
    given = {**setting.args, "dtype": dtype, "batching": batching, **NO_END}
    options: dict[str, object] = {
        "model": subject.model,
        "tasks": subject.tasks,
        "batch_size": batch,
        "max_new_tokens": ANSWER,
        "limit": subject.limit,
        "model_args": given,
    }
    done = timed_run(options, output)
    done.close()
    return done.answers


def _kept(one: str, other: str) -> int:
    return next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(one))


def measure(setting: Setting) -> bool:
    """Print the table; false if float32 answers differ."""
    folder = setting.place("composition")
    count = 24 if setting.large else 3
    task = write_questions(folder / "task", count, 1, SIZES[FAMILY, setting.size].sides)
    batch = 24 if setting.large else 3
    subjects = [
        Subject("random weights", str(setting.model), str(task), None, batch),
        Subject("demo model", "demo", "digits_read", 128 if setting.large else 4, 4 * batch),
    ]
    rows, equal = [], True
    for subject in subjects:
        for dtype in ("float32", "bfloat16"):
            alone = answers(subject, setting, dtype, ("static", 1), folder / f"{subject.name}-{dtype}-alone")
            for batching in ("static", "continuous"):
                place = folder / f"{subject.name}-{dtype}-{batching}"
                together = answers(subject, setting, dtype, (batching, subject.batch), place)
                changed = [key for key, text in alone.items() if together[key] != text]
                equal &= not changed or dtype != "float32" or subject.name != "demo model"
                kept = sorted(_kept(alone[key], together[key]) for key in changed)
                rows.append([
                    subject.name, dtype, f"{batching}, {subject.batch}", f"{len(changed)} of {len(alone)}",
                    f"{kept[len(kept) // 2]}" if kept else "none changed",
                ])  # fmt: skip
    table(
        f"Greedy answers of {ANSWER} tokens, together against alone",
        ("model", "dtype", "batches", "answers changed", "median characters before the first change"),
        rows,
    )
    say("Alone: one request per batch. A row of 0 is no proof for other models; a row above 0 is one.")
    return verdict("the demo model's float32 answers don't depend on their batch", equal)
