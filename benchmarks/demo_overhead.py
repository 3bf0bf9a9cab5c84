"""A run of the demo model against `model.generate` on its batches; the second half of `benchmarks.overhead`."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from benchmarks.aims import AIM_SHARE
from benchmarks.demo_model import Measured, measure
from benchmarks.runs import scratch
from benchmarks.tables import say, table, verdict
from muster.config import load_config
from muster.coordinator.workload import Workload
from muster.demo import demo_model_path
from muster.media import load_image
from muster.models.protocol import ModelSettings
from muster.models.transformers.backend import TransformersModel
from muster.models.transformers.quiet import quiet
from muster.planning import plan

WIDE = 768
"""Hidden size of the wide model: kernels instead of the interpreter take the time, as for any model that is used."""


def demo_model(*, quick: bool) -> bool:
    """Print the tables; whether the aim was met for the demo model."""
    repeats = 1 if quick else 5
    limit = 20 if quick else None
    torch.set_num_threads(1)  # as `muster run --replicas 2` would on two cores; the other prepares
    lines, met = [], True
    with scratch() as folder:
        wide = widened(folder / "wide", WIDE // 4 if quick else WIDE)
        measure("demo", folder / "warm", 16, 5)
        for name, model, batch_size, count in (
            ("demo", "demo", 16, limit),
            ("demo", "demo", 32, limit),
            (f"{WIDE} wide, random", str(wide), 16, 4 if quick else 40),
        ):
            runs = [
                measure(model, folder / f"{name}-{batch_size}-{repeat}", batch_size, count)
                for repeat in range(repeats)
            ]
            lines.append([name, str(batch_size), *_cells(runs)])
            if name == "demo":
                met &= _median(runs, lambda run: run.written / run.bare - 1) < AIM_SHARE
    table(
        f"Wall time after loading, over `model.generate` on the same batches; digits, one thread, median of {repeats}",
        (
            *("model", "batch", "requests", "generate alone, ms each", "generate within the run"),
            *("by hand: prepare, generate", "to the last answer", "to the results", "results over by hand"),
        ),
        lines,
    )
    parts(limit or 100)
    say(
        "The next batch is prepared beside `generate`: in a process of its own where there is a core for it, else in a "
        "thread, which adds its time to a model like the demo's, whose own time is the interpreter's."
    )
    return verdict(f"the demo model's run under {AIM_SHARE:.0%} beyond `model.generate`", met)


def _median(runs: list[Measured], value: Callable[[Measured], float]) -> float:
    return statistics.median(map(value, runs))


def _cells(runs: list[Measured]) -> list[str]:
    return [
        f"{runs[0].requests:,}",
        f"{_median(runs, lambda run: run.bare / run.requests) * 1e3:.2f}",
        f"{_median(runs, lambda run: run.within / run.bare - 1):+.0%}",
        f"{_median(runs, lambda run: run.by_hand / run.bare - 1):+.0%}",
        f"{_median(runs, lambda run: run.answered / run.bare - 1):+.0%}",
        f"{_median(runs, lambda run: run.written / run.bare - 1):+.0%}",
        f"{_median(runs, lambda run: run.written / run.by_hand):.2f}",
    ]


def widened(folder: Path, size: int) -> Path:
    """The demo's architecture with a wider language model and random weights, and the demo's processor."""
    shutil.copytree(demo_model_path(), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = AutoConfig.from_pretrained(demo_model_path())
    text = config.text_config
    text.hidden_size, text.intermediate_size, text.num_hidden_layers = size, 4 * size, 6
    text.num_attention_heads = text.num_key_value_heads = size // 64
    text.head_dim = 64
    torch.manual_seed(0)
    with quiet():
        AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    return folder


def parts(limit: int) -> None:
    """What each step takes alone, in one thread."""
    config = load_config({"model": "demo", "tasks": "digits", "limit": limit})
    workload = Workload(plan(config))
    numbers = range(len(workload))
    model = TransformersModel(ModelSettings(str(demo_model_path()), {"device": "cpu"}, batch_size=16))
    preparer, generator = model._preparer, model._generator
    requests = [workload.request(number) for number in numbers]
    rows = [preparer._row(request) for request in requests]
    chunks = [rows[start : start + 16] for start in range(0, len(rows), 16)]
    batches = [batch for chunk in chunks for batch in preparer.assemble(chunk).batches]
    steps: dict[str, Callable[[], object]] = {
        "the task's prompt": lambda: [workload.request(number) for number in numbers],
        "decoding images": lambda: [load_image(media) for request in requests for media in request.media],
        "chat template": lambda: [preparer._renderer.render(request.messages) for request in requests],
        "processor, batches of 16": lambda: [preparer.assemble(chunk) for chunk in chunks],
        "generate and read the answers": lambda: [generator.answer(batch) for batch in batches],
    }
    lines = [[name, f"{_best(step) / len(requests) * 1e6:.0f}"] for name, step in steps.items()]
    table("The demo model's steps, each alone: CPU µs per request, best of three", ("step", "µs"), lines)


def _best(step: Callable[[], object]) -> float:
    seconds = []
    for _ in range(3):
        began = time.process_time()
        step()
        seconds.append(time.process_time() - began)
    return min(seconds)
