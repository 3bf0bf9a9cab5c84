"""Runs of `muster run` with the backends of this package, and when their parts happened."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from muster.results.journal_read import read_entries

BACKENDS = Path(__file__).with_name("backends.py")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONDONTWRITEBYTECODE": ""}
"""Of what is measured. Whatever this machine says, modules are compiled once, as for users."""


class RunFailedError(Exception):
    """A run that is to be measured did not succeed."""


@dataclass(frozen=True, slots=True)
class Times:
    """Unix seconds."""

    started: float
    """Of the command."""
    ready: float
    """All workers stand at the line, and begin to claim."""
    answered: float
    """The last answer has reached the coordinator."""
    written: float
    """`results.json`, the last file, is in its place."""
    ended: float
    """Of the command."""
    requests: int


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="muster-benchmark-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_benchmark(folder: Path, rows: Iterable[Mapping[str, object]], name: str = "made_up") -> Path:
    """A benchmark of exact match with these rows (native samples); the path of its YAML file."""
    encoder = msgspec.json.Encoder()
    with (folder / f"{name}.jsonl").open("wb") as lines:
        lines.writelines(encoder.encode(row) + b"\n" for row in rows)
    task = folder / f"{name}.yaml"
    task.write_text(
        f"name: {name}\nsource: {{file: {name}.jsonl}}\nmetric: exact_match\ngeneration: {{max_new_tokens: 1}}\n"
    )
    return task


def questions(count: int, answer: str) -> Iterator[dict[str, object]]:
    """Short questions."""
    for number in range(count):
        yield {"id": f"q{number}", "question": f"What is number {number} of {count}?", "answer": answer}


def launcher(engine: str, workers: int) -> list[str]:
    """What starts `-m muster run` under an engine."""
    if engine != "torchrun":
        return [sys.executable]
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}"]


def measured_run(
    task: Path,
    backend: str,
    output: Path,
    *,
    engine: str,
    workers: int,
    options: Sequence[str] = (),
    watch: Callable[[subprocess.Popen[bytes]], None] | None = None,
    model_args: Mapping[str, object] | None = None,
) -> Times:
    """Run a backend of `backends.py`. `watch` is called when the processes have been started, and may wait.

    Raises:
        RunFailedError: with the run's own words.
    """
    marks = output.with_name(f"{output.name}-marks")
    marks.mkdir(parents=True)
    args = {"marks": marks, "workers": workers, **(model_args or {})}
    replicas = [] if engine == "torchrun" else ["--replicas", str(workers)]
    command = [
        *launcher(engine, workers),
        *("-m", "muster", "run", "--model", "demo", "--backend", f"{BACKENDS}:{backend}"),
        *("--tasks", str(task), "--output", str(output), "--engine", engine, "--progress", "none"),
        *("--model-args", ",".join(f"{name}={value}" for name, value in args.items())),
        *replicas,
        *options,
    ]
    said = output.with_name(f"{output.name}.txt")
    started = time.time()
    with said.open("wb") as file:
        process = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, stdout=file, stderr=file)
        try:
            if watch is not None:
                watch(process)
            status = process.wait()
        finally:
            process.kill()
    ended = time.time()
    if status:
        raise RunFailedError(f"{' '.join(command)}\nended with {status}\n{said.read_text()}")
    return _times(output, marks, started, ended)


def _times(output: Path, marks: Path, started: float, ended: float) -> Times:
    requests, answered = 0, 0.0
    for entry in read_entries(output / "journal.jsonl"):
        requests += 1
        answered = max(answered, entry.at)
    return Times(
        started,
        float((marks / "go").read_text()),
        answered,
        (output / "results.json").stat().st_mtime,
        ended,
        requests,
    )
