"""Several questions about each image, with features of images kept and without."""

from __future__ import annotations

from benchmarks.gpu.questions import write_questions
from benchmarks.gpu.setting import FAMILY, Setting
from benchmarks.random_models import SIZES
from benchmarks.tables import table, verdict
from benchmarks.timed_model import NO_END, timed_run

QUESTIONS = 6
"""About each image."""
ANSWER = 4
"""Tokens: short, so that reading the prompt is most of the work."""


def measure(setting: Setting) -> bool:
    """Print the table; false if reuse isn't faster."""
    images = 32 if setting.large else 2
    folder = setting.place("reuse")
    task = write_questions(folder / "task", images, QUESTIONS, SIZES[FAMILY, setting.size].sides)
    rows, rates, answers = [], [], []
    for name, megabytes in (("warm-up", "off"), ("off", "off"), ("on", 4096)):
        options: dict[str, object] = {
            "model": str(setting.model),
            "tasks": str(task),
            "batch_size": 16 if setting.large else 4,
            "max_new_tokens": ANSWER,
            "model_args": {**setting.args, "image_cache": megabytes, **NO_END},
        }
        if name == "warm-up":
            options["limit"] = 8 if setting.large else 2
        done = timed_run(options, folder / name)
        if name != "warm-up":
            reused = getattr(done.model._generator, "images", None)
            spent = done.model.total
            rates.append(len(done.answers) / spent.seconds)
            answers.append(done.answers)
            rows.append([
                name, f"{len(done.answers)}", f"{reused.reused if reused else 0}", f"{rates[-1]:.2f}", spent.busy,
                f"{sum(answers[0][key] == text for key, text in done.answers.items())}",
            ])  # fmt: skip
        done.close()
        del done
    table(
        f"{images} images, {QUESTIONS} questions each, {ANSWER} tokens",
        (
            "image reuse",
            "requests",
            "images that needed no vision tower",
            "requests/s",
            "busy",
            "answers as without",
        ),
        rows,
    )
    return verdict("image reuse is faster", rates[1] > rates[0])
