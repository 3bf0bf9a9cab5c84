"""`--batch-size auto`: how far it grows with the whole memory, with little of it, and when memory runs out unforeseen.

Unforeseen: torch's allocator is given a bound that the driver's figures, by which the backend decides whether to
grow, don't show. So batches do run out of memory, as they do when a later image is larger than all before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from benchmarks.gpu.questions import write_questions
from benchmarks.gpu.setting import FAMILY, Setting
from benchmarks.random_models import SIZES
from benchmarks.tables import say, table, verdict
from benchmarks.timed_model import NO_END, timed_run
from muster.sizing.checkpoint import read_folder

GIB = 1 << 30
LITTLE = 10 * GIB
"""Beside the weights."""
ANSWER = 16


def weights_of(setting: Setting) -> int:
    """Bytes of the model's files."""
    return sum(tensor.bytes for tensor in read_folder(setting.model).tensors)


@contextmanager
def room(setting: Setting, kind: str) -> Iterator[None]:
    """Leave so much of the device's memory."""
    if kind == "all of it":
        yield
        return
    free, total = torch.cuda.mem_get_info()
    wanted = weights_of(setting) + LITTLE
    if kind == "little":
        ballast = torch.empty(max(0, free - wanted), dtype=torch.uint8, device="cuda")
        yield
        del ballast
    else:
        torch.cuda.set_per_process_memory_fraction(wanted / total)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)


def measure(setting: Setting) -> bool:
    """Print the table; false if a request failed, or nothing grew."""
    gpu = setting.device == "cuda"
    folder = setting.place("growth")
    count = 256 if setting.large else 6
    task = write_questions(folder / "task", count, 1, SIZES[FAMILY, setting.size].sides)
    kinds = ("all of it", "little", "less than it seems") if gpu else ("all of it",)
    rows, good = [], True
    for kind in kinds:
        for batching in ("static", "continuous"):
            if kind == "little" and batching == "continuous":
                continue
            options: dict[str, object] = {
                "model": str(setting.model),
                "tasks": str(task),
                "batch_size": "auto",
                "max_new_tokens": ANSWER if setting.large else 4,
                "model_args": {**setting.args, "batching": batching, **NO_END},
            }
            with room(setting, kind):
                if gpu:
                    torch.cuda.reset_peak_memory_stats()
                done = timed_run(options, folder / f"{kind}-{batching}".replace(" ", "-"))
                peak = f"{torch.cuda.max_memory_reserved() / GIB:.1f}" if gpu else "not measured"
                limits, failed, spent = done.model.limits, done.failed, done.model.total
                answered = len(done.answers)
                done.close()
                del done
            good &= not failed and answered == count
            good &= not gpu or (limits[-1] != limits[0])
            if kind == "less than it seems" and setting.large:
                good &= max(limits) > limits[-1]  # it did run out
            rows.append([
                kind, batching, " → ".join(map(str, limits)), f"{answered - failed} of {count}",
                f"{answered / spent.seconds:.1f}", peak, spent.busy,
            ])  # fmt: skip
    table(
        "`--batch-size auto`",
        ("memory", "batches", "largest batch allowed", "answered", "requests/s", "GiB reserved", "busy"),
        rows,
    )
    if not gpu:
        say("On a CPU `auto` is a fixed number: running out of memory there can't be caught.")
    return verdict("all answered; grown where there was room, halved where it ran out", good)
