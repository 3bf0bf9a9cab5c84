"""The transformers backend against a loop at batch size 1, and against `model.generate` on perfectly packed batches.

    python -m benchmarks.transformers_speed [--size tiny|small|7b] [--family qwen2_5_vl|llava] [--quick]

The model has an architecture as published and random weights, so it is built here and nothing is downloaded. Every
request has an image of another shape and an answer of 16 to 256 tokens, drawn with a fixed seed. Nobody knows the
lengths before the answers end: the model never says its end token, and rows are ended from outside at their length.
Except for the ceiling, whose batches are sorted by them, prepared beforehand, and run with nothing around them.

- by hand: one request after the other; image, chat template, processor, `generate`, text. Of some requests only.
- static, continuous: whole runs in this process, from the first claim to the last answer, by `--model-args batching=…`.

On a CPU, in one thread, the ratios by CPU time count: other work on the machine disturbs them least.
Exits 1 if the default isn't at least 0.9 of the ceiling and 8 times the loop.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.busy import Spent, spent
from benchmarks.random_models import SIZES, Family, Size, build
from benchmarks.runs import scratch, write_benchmark
from benchmarks.tables import machine, say, table, verdict
from benchmarks.timed_model import NO_END, Timed, timed_run
from muster.config import load_config
from muster.coordinator.workload import Workload
from muster.core import RequestKey
from muster.media import load_image
from muster.models.protocol import ModelSettings
from muster.models.transformers.generation import Generator
from muster.models.transformers.preparation import Batch, Row
from muster.models.transformers.quiet import quiet
from muster.planning import plan

SHORTEST, LONGEST = 16, 256
CEILING_SHARE, TIMES_BY_HAND = 0.9, 8.0

WAYS = {
    "by hand": "by hand, one at a time",
    "static": "a run, batching=static",
    "continuous": "a run, batching=continuous",
    "ceiling": "`generate` on packed batches",
}


class Case(NamedTuple):
    """What is measured."""

    family: Family
    size: Size
    requests: int
    batch_size: int
    by_hand: int
    """Requests of the loop."""
    repeats: int
    warm_up: int
    """Requests of a run before, for kernels, caches and imports; 0: none."""
    dtype: str
    device: str
    longest: int = LONGEST
    """Tokens of an answer."""


class Found(NamedTuple):
    """One way of answering."""

    requests: int
    tokens: int
    spent: Spent

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.spent.seconds

    @property
    def cpu_rate(self) -> float:
        """Tokens per second of CPU time."""
        return self.tokens / self.spent.cpu


def length_of(key: RequestKey) -> int:
    """How many tokens a request's answer has: the last part of its id."""
    return int(key.sample_id.rpartition("-")[2])


class Measured(Timed):
    """Answers end where the benchmark says."""

    def __init__(self, settings: ModelSettings) -> None:
        """Load the model."""
        super().__init__(settings)
        self._generator.budgets = lambda batch: [length_of(row.request.key) for row in batch.rows]  # type: ignore[attr-defined]


def write_task(folder: Path, case: Case) -> Path:
    """The questions and their images; the task's file."""
    from PIL import Image

    draw = random.Random(0)
    rows = []
    for number in range(case.requests):
        shape = (draw.randint(*case.size.sides), draw.randint(*case.size.sides))
        Image.effect_noise(shape, 90).convert("RGB").save(folder / f"{number}.jpg", quality=80)
        question = "What is shown in this picture, and why? " * draw.randint(1, 6)
        tokens = draw.randint(min(SHORTEST, case.longest), case.longest)
        rows.append(
            {"id": f"q{number}-{tokens}", "question": question, "images": [f"{number}.jpg"], "answer": "x"}
        )
    return write_benchmark(folder, rows)


def settings(case: Case, model: Path, task: Path, batching: str) -> dict[str, object]:
    """The run's options."""
    return {
        "model": str(model),
        "tasks": str(task),
        "batch_size": case.batch_size,
        "max_new_tokens": case.longest,
        "model_args": {"device": case.device, "batching": batching, **NO_END},
    }


def whole_run(options: dict[str, object], output: Path) -> tuple[Timed, Found]:
    """One run; the model stays."""
    done = timed_run(options, output, Measured)
    if done.failed:
        raise SystemExit(f"{done.failed} requests failed")
    keys = [RequestKey(*key) for key in done.answers]
    return done.model, Found(len(keys), sum(map(length_of, keys)), done.model.total)


def in_place(model: Timed, batch: Batch) -> dict[str, torch.Tensor]:
    """Inputs on the device."""
    generator: Generator = model._generator  # type: ignore[assignment]
    return generator.place(batch.inputs)


def ceiling(model: Timed, rows: Sequence[Row], batch_size: int) -> Found:
    """`model.generate` on batches of equally long answers, prepared before the clock starts."""
    ordered = sorted(rows, key=lambda row: -length_of(row.request.key))
    batches = [
        model._preparer._collate(ordered[start : start + batch_size])
        for start in range(0, len(ordered), batch_size)
    ]
    with spent() as found, torch.inference_mode(), quiet():
        for batch in batches:
            longest = max(length_of(row.request.key) for row in batch.rows)
            generate(model, in_place(model, batch), longest)
        synchronize()
    return Found(len(rows), sum(length_of(row.request.key) for row in rows), found)


def by_hand(model: Timed, rows: Sequence[Row]) -> Found:
    """One after the other, as in a plain loop over a benchmark."""
    tokenizer = model._loaded.processor.tokenizer
    with spent() as found, torch.inference_mode(), quiet():
        for row in rows:
            images = tuple(load_image(media) for media in row.request.media)
            prompt = model._preparer._renderer.render(row.request.messages)
            inputs = in_place(model, model._preparer._collate([Row(row.request, prompt, images)]))
            output = generate(model, inputs, length_of(row.request.key))
            tokenizer.decode(output[0, inputs["input_ids"].shape[1] :].tolist(), skip_special_tokens=True)
        synchronize()
    return Found(len(rows), sum(length_of(row.request.key) for row in rows), found)


def generate(model: Timed, inputs: dict[str, torch.Tensor], tokens: int) -> torch.Tensor:
    """`model.generate`, greedily."""
    return model._loaded.model.generate(**inputs, max_new_tokens=tokens, do_sample=False)


def synchronize() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(case: Case, folder: Path, model_folder: Path) -> dict[str, list[Found]]:
    """Every way, each as often as asked, in turn."""
    task = write_task(folder, case)
    found: dict[str, list[Found]] = {}
    for repeat in range(-1 if case.warm_up else 0, case.repeats):
        for batching in ("static", "continuous"):
            options = settings(case, model_folder, task, batching)
            if repeat < 0:
                options["limit"] = case.warm_up
            model, result = whole_run(options, folder / f"{batching}{repeat}")
            _note(found, batching, result, repeat)
            if batching == "static":
                model.close()
                del model
        work = Workload(plan(load_config(options)))
        rows = [model._preparer._row(work.request(number)) for number in range(len(work))]
        some = rows[:: max(1, len(rows) // case.by_hand)] if repeat >= 0 else rows[:1]
        _note(found, "ceiling", ceiling(model, rows, case.batch_size), repeat)
        _note(found, "by hand", by_hand(model, some), repeat)
        model.close()
        del model
    return found


def _note(found: dict[str, list[Found]], name: str, result: Found, repeat: int) -> None:
    if repeat >= 0:
        found.setdefault(name, []).append(result)


def show(case: Case, found: dict[str, list[Found]]) -> bool:
    """Print the table, and whether the aims were met."""
    gpu = case.device == "cuda"
    rates = {name: statistics.median(each.rate for each in results) for name, results in found.items()}
    cpu_rates = {
        name: statistics.median(each.cpu_rate for each in results) for name, results in found.items()
    }
    lines = []
    for name, title in WAYS.items():
        first = sorted(found[name], key=lambda each: each.rate)[len(found[name]) // 2]
        lines.append(
            [
                title,
                f"{first.requests}",
                f"{first.tokens:,}",
                f"{rates[name]:,.0f}",
                f"{min(each.rate for each in found[name]):,.0f} to {max(each.rate for each in found[name]):,.0f}",
                f"{cpu_rates[name]:,.0f}",
                first.spent.busy,
                *(
                    f"{rates[name] / rates[other]:.2f} ({cpu_rates[name] / cpu_rates[other]:.2f})"
                    for other in ("by hand", "ceiling")
                ),
            ]
        )
    table(
        f"{case.family}, {_parameters(case)}, {case.dtype}, batches of {case.batch_size}; median of {case.repeats}",
        (
            *("way", "requests", "tokens", "tokens/s", "from, to", "tokens per CPU second", "busy"),
            *("over by hand (by CPU time)", "of the ceiling (by CPU time)"),
        ),
        lines,
    )
    clock = rates if gpu else cpu_rates
    by = "" if gpu else ", by CPU time"
    met = verdict(
        f"{CEILING_SHARE} of the ceiling{by}", clock["continuous"] >= CEILING_SHARE * clock["ceiling"]
    )
    times = clock["continuous"] >= TIMES_BY_HAND * clock["by hand"]
    return verdict(f"{TIMES_BY_HAND:.0f} times the loop by hand{by}", times) and met


def _parameters(case: Case) -> str:
    name = next(name for (family, name), size in SIZES.items() if size is case.size and family == case.family)
    return f"{name} ({case.size.layers} layers, {case.size.hidden} wide)"


def main() -> int:
    """Print the tables; 1 if an aim was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=("tiny", "small", "7b"), default="tiny")
    parser.add_argument("--family", choices=("qwen2_5_vl", "llava"), action="append", help="default: both")
    parser.add_argument("--requests", type=int, default=512)
    parser.add_argument("--batch-size", type=int, help="default 64 on a GPU, 16 on a CPU")
    parser.add_argument("--by-hand", type=int, default=24, help="requests of the loop at batch size 1")
    parser.add_argument("--repeats", type=int, help="default 1 on a GPU, 3 on a CPU")
    parser.add_argument("--quick", action="store_true", help="one family, a few requests, once")
    given = parser.parse_args()
    gpu = torch.cuda.is_available()
    if not gpu:
        torch.set_num_threads(1)
    say("# Speed of the transformers backend")
    say(machine() + (f" {torch.cuda.get_device_name()}." if gpu else ""))
    met = True
    families: Sequence[Family] = given.family or (("llava",) if given.quick else ("qwen2_5_vl", "llava"))
    for family in families:
        case = Case(
            family,
            SIZES[family, given.size],
            requests=8 if given.quick else given.requests,
            batch_size=given.batch_size or (4 if given.quick else 64 if gpu else 16),
            by_hand=2 if given.quick else given.by_hand,
            repeats=1 if given.quick else given.repeats or (1 if gpu else 3),
            warm_up=0 if given.quick else 32,
            dtype="bfloat16" if gpu else "float32",
            device="cuda" if gpu else "cpu",
        )
        with scratch() as folder:
            with quiet():
                build(folder / "model", case.family, case.size, case.dtype, case.device)
            met &= show(case, measure(case, folder, folder / "model"))
    say(
        "A run is measured from the first claim to the last answer, decoding and preparing images included. CPU "
        "seconds are those of this process; a process beside it prepares batches where there is a core for it."
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
