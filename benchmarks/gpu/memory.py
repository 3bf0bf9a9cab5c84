"""Memory that `muster plan` predicts: of bare forward passes (`benchmarks.planner`), and of a whole run."""

from __future__ import annotations

import torch

from benchmarks import planner
from benchmarks.gpu.questions import write_questions
from benchmarks.gpu.setting import FAMILY, Setting
from benchmarks.random_models import SIZES
from benchmarks.tables import say, table, verdict
from benchmarks.timed_model import NO_END, release, timed_run
from muster.config import load_config
from muster.planning import plan
from muster.sizing.checkpoint import read_folder
from muster.sizing.demand import demand_of_tasks
from muster.sizing.memory import activation_bytes, cache_bytes
from muster.sizing.plan import describe

ANSWER = 32


def whole_runs(setting: Setting) -> bool:
    """Weights, cache and activations of runs, predicted and measured by torch's allocator."""
    folder = setting.place("memory")
    described = describe(read_folder(setting.model))
    rows, good = [], True
    for batch in (1, 8, 32):
        task = write_questions(folder / f"task{batch}", 2 * batch, 1, SIZES[FAMILY, setting.size].sides)
        options: dict[str, object] = {
            "model": str(setting.model),
            "tasks": str(task),
            "batch_size": batch,
            "max_new_tokens": ANSWER,
            "model_args": {**setting.args, **NO_END},
        }
        demand = demand_of_tasks(plan(load_config(options)), described.rule, batch=batch).demand
        size = described.parameters.compute_bytes
        predicted = (
            described.parameters.loaded_bytes
            + activation_bytes(described.architecture, size, demand)
            + cache_bytes(described.architecture.text, size, batch, demand.length)
        )
        release()
        torch.cuda.reset_peak_memory_stats()
        done = timed_run(options, folder / f"run{batch}")
        measured = torch.cuda.max_memory_allocated()
        good &= measured <= predicted
        rows.append([
            str(batch), f"{predicted / 2**30:.2f}", f"{measured / 2**30:.2f}", f"{measured / predicted:.2f}",
            f"{torch.cuda.max_memory_reserved() / 2**30:.2f}",
        ])  # fmt: skip
        done.close()
        del done
    table(
        "Whole runs, weights included",
        ("batch", "GiB predicted", "GiB allocated at most", "ratio", "GiB reserved at most"),
        rows,
    )
    return verdict("no run needs more than was predicted", good)


def measure(setting: Setting) -> bool:
    """Print the tables; false if anything needed more than was predicted."""
    met = planner.main([] if setting.large else ["--quick"]) == 0
    if setting.device == "cuda":
        release()
        return whole_runs(setting) and met
    say("Whole runs are measured by the GPU's allocator: not here.")
    return met
