"""One part of `benchmarks.against`, done by whichever build is on PYTHONPATH; prints its figures as JSON.

    PYTHONPATH=CHECKOUT/src python benchmarks/against_part.py PART FOLDER

Imports nothing of this checkout, and of Muster only what both builds have.
"""

from __future__ import annotations

import importlib
import inspect
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from muster.config import load_config
from muster.planning import plan
from muster.results.folder import RunFolder
from muster.results.journal import Journal
from muster.results.manifest import Manifest
from muster.results.scoring import score_run
from muster.scheduling.queue import WorkQueue

WORKLOADS = ("muster.coordinator.workload", "muster.distributed.workload")
"""Where `Workload` is, in either build."""


def main() -> None:
    """Do one part."""
    part, folder = sys.argv[1], Path(sys.argv[2])
    work = PARTS[part.partition("-")[0]]
    figures = work(folder, part.partition("-")[2])
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {"peak": _kilobytes("VmHWM") * 1024, "total_cpu": used.ru_utime + used.ru_stime, **figures}
        )
    )


def _planned(folder: Path, task: str) -> list[Any]:
    return plan(load_config({"model": "demo", "tasks": str(folder / task)}, env={}))


def read(folder: Path, form: str) -> dict[str, Any]:
    """The samples of a data file: what precedes the first question."""
    began = time.process_time()
    (planned,) = _planned(folder, f"{form}.yaml")
    samples = planned.samples
    cpu = time.process_time() - began
    step = max(1, len(samples) // 1000)
    return {
        "cpu": cpu,
        "resident": _resident(),
        "digest": _digest(samples[index] for index in range(0, len(samples), step)),
    }


def first(folder: Path, form: str) -> dict[str, Any]:
    """What `--limit 100` takes."""
    began = time.process_time()
    options = {"model": "demo", "tasks": str(folder / f"{form}.yaml"), "limit": 100}
    (planned,) = plan(load_config(options, env={}))
    return {"cpu": time.process_time() - began, "digest": _digest(planned.samples)}


def queue(folder: Path, task: str) -> dict[str, Any]:
    """The whole plan, queue included; what is resident while the run goes on."""
    began = time.process_time()
    planned = _planned(folder, f"{task}.yaml")
    workload = _workload()(planned)
    waiting = WorkQueue(workload.items, replicas=16)
    cpu = time.process_time() - began
    keys = (workload.request(index) for index in range(0, len(workload), max(1, len(workload) // 1000)))
    return {"cpu": cpu, "resident": _resident(), "requests": waiting.total, "digest": _digest(keys)}


def score(folder: Path, _: str) -> dict[str, Any]:
    """From the journal to `results.json` and `samples.parquet`, with the samples there."""
    planned = _planned(folder, "jsonl.yaml")
    manifest = Manifest.describe(
        run="r1", model="demo", backend="x", model_args={}, config={}, planned=planned
    )
    _forget_peak()
    before, began = _resident(), time.process_time()
    run = RunFolder(folder / "run")
    results = score_run(run, planned, manifest=manifest, timing={})
    cpu = time.process_time() - began
    metrics = {name: repr(task) for name, task in results.tasks.items()}
    return {"cpu": cpu, "before": before, "digest": _digest([metrics])}


def resume(folder: Path, _: str) -> dict[str, Any]:
    """What a run does that goes on, from opening its journal to knowing what is left, with the samples there."""
    planned = _planned(folder, "jsonl.yaml")
    run = importlib.import_module("muster.run")
    offered: dict[str, Any] = {
        "config": load_config({"model": "demo", "tasks": str(folder / "jsonl.yaml")}, env={}),
        "folder": RunFolder(folder / "run"),
        "planned": planned,
        "display": _Silent(),
        "attempt": 1,
    }
    _forget_peak()
    began = time.process_time()
    asked = inspect.signature(run._what_is_left).parameters
    noted = []
    if "earlier" in asked:
        offered["earlier"] = run.EarlierAnswers()
        noted.append(offered["earlier"].note)
    with Journal.open(RunFolder(folder / "run").journal, "r1", *noted) as journal:
        offered["journal"] = journal
        workload = run._what_is_left(**{name: offered[name] for name in asked})
    return {"cpu": time.process_time() - began, "digest": str(len(workload))}


class _Silent:
    def say(self, line: str) -> None:
        """Nothing."""


def _workload() -> Any:
    for name in WORKLOADS:
        try:
            return importlib.import_module(name).Workload
        except ModuleNotFoundError:
            continue
    raise SystemExit(f"neither of {', '.join(WORKLOADS)}")


def _digest(values: Any) -> str:
    """Of what must be the same in both builds."""
    import hashlib

    return hashlib.blake2b("\n".join(map(repr, values)).encode(), digest_size=8).hexdigest()


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _resident() -> int:
    return _kilobytes("VmRSS") * 1024


def _kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


PARTS = {"read": read, "first": first, "queue": queue, "score": score, "resume": resume}

if __name__ == "__main__":
    main()
