"""How long Muster takes to start: its help, and the demo model's first answer.

    python -m benchmarks.start [--quick]

The first answer is compared with a plain script that imports torch and transformers, loads the same model and asks
one question. Runs take turns; medians. Exits 1 if the first answer takes more than 0.9 of the script's processor time,
or `--help` more than a quarter of its time.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.first_answer import STEPS
from benchmarks.runs import ENVIRONMENT, RunFailedError, scratch
from benchmarks.tables import asked_for_quick, machine, say, table, verdict
from muster.demo import demo_model_path
from muster.results.journal_read import read_entries
from muster.tasks.registry import load_tasks

AIM_FIRST = 0.9
AIM_HELP = 0.25
LIGHT = {
    "python -c pass": ["-c", "pass"],
    "muster --help": ["-m", "muster", "--help"],
    "muster run --help": ["-m", "muster", "run", "--help"],
    "muster tasks": ["-m", "muster", "tasks"],
}
IMPORTS = {
    "python -c 'import torch, transformers'": ["-c", "import torch, transformers"],
    "python -c 'from transformers import Auto…'": [
        "-c",
        "import torch; from transformers import AutoModelForImageTextToText, AutoProcessor",
    ],
}


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds since the command, one per step of `STEPS`, and until the command's end."""

    steps: tuple[float, ...]
    processor: tuple[float, ...]
    """CPU seconds of the process that loads the model, likewise."""
    ended: float

    @property
    def first_answer(self) -> float:
        """Seconds until the model has answered."""
        return self.steps[-1]


class Asked(NamedTuple):
    """Whose first answer is waited for."""

    model: str
    """`demo` or a folder."""
    device: str
    dtype: str


DEMO = Asked("demo", "cpu", "float32")


def command(arguments: Sequence[str]) -> float:
    """Run Python with these arguments; seconds."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], env=os.environ | ENVIRONMENT, capture_output=True, check=False
    )
    if done.returncode:
        raise RunFailedError(f"{arguments}: {done.stderr.decode()}")
    return time.perf_counter() - began


def muster_run(folder: Path, asked: Asked) -> Start:
    """`muster run` on one sample."""
    marks, output = folder / "muster.json", folder / f"run-{time.time_ns()}"
    args = f"marks={marks},device={asked.device},dtype={asked.dtype}"
    began = time.time()
    command(
        [
            *("-m", "muster", "run", "--model", asked.model, "--tasks", "digits_read", "--limit", "1"),
            *("--backend", "benchmarks.watched_model:Watched", "--model-args", args),
            *("--output", str(output), "--engine", "inline", "--progress", "none"),
        ]
    )
    ended = time.time() - began
    assert len(list(read_entries(output / "journal.jsonl"))) == 1
    return Start(*_since(began, marks), ended)


def plain_script(folder: Path) -> Start:
    """The floor."""
    marks = folder / "script.json"
    began = time.time()
    command(["-m", "benchmarks.first_answer", str(marks)])
    return Start(*_since(began, marks), time.time() - began)


def _since(began: float, marks: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    times = json.loads(marks.read_text())
    marks.unlink()
    return tuple(at - began for at, _cpu in times), tuple(cpu for _at, cpu in times)


def write_question(folder: Path, asked: Asked) -> None:
    """What the plain script asks: the first sample of `digits_read`."""
    (task,) = load_tasks(["digits_read"])
    sample = task.source.load()[0]
    image = folder / "image.png"
    image.write_bytes(sample.images[0].data or b"")
    text = task.prompt.render(sample)[-1].text
    model = str(demo_model_path()) if asked.model == "demo" else asked.model
    question = [model, asked.device, asked.dtype, str(image), text]
    (folder / "script.question").write_text(json.dumps(question))


def forget_files() -> None:
    """Drop torch's and transformers' files from the page cache, where the system lets a file's reader do that."""
    import importlib.util

    for package in ("torch", "transformers", "tokenizers", "numpy", "pyarrow"):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        for path in Path(spec.origin).parent.rglob("*"):
            with contextlib.suppress(OSError), path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def light_commands(commands: Mapping[str, Sequence[str]], repeats: int) -> dict[str, float]:
    """Median seconds of commands that load no model."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, arguments in commands.items():
            seconds[name].append(command(arguments))
    return {name: statistics.median(values) for name, values in seconds.items()}


def first_answers(
    folder: Path, repeats: int, *, cold: bool, asked: Asked = DEMO
) -> tuple[list[Start], list[Start]]:
    """Muster and the script by turns."""
    muster: list[Start] = []
    script: list[Start] = []
    for _ in range(repeats):
        for theirs in (False, True):
            if cold:
                forget_files()
            if theirs:
                script.append(plain_script(folder))
            else:
                muster.append(muster_run(folder, asked))
    return muster, script


def first_answer_table(title: str, muster: list[Start], script: list[Start]) -> float:
    """Print the parts; the ratio of the CPU seconds until the first answer, which other work disturbs least."""
    header = (
        "until the first answer",
        "muster run, s",
        "plain script, s",
        "ratio",
        "CPU s",
        "CPU s",
        "ratio",
    )
    lines = []
    for number, step in enumerate(STEPS):
        parts = [
            statistics.median(of[number] - (of[number - 1] if number else 0.0) for of in each)
            for each in (
                [start.steps for start in muster],
                [start.steps for start in script],
                [start.processor for start in muster],
                [start.processor for start in script],
            )
        ]
        mine, theirs, mine_cpu, theirs_cpu = (f"{part:.2f}" for part in parts)
        lines.append([step, mine, theirs, "", mine_cpu, theirs_cpu, ""])
    first = _compared([start.first_answer for start in muster], [start.first_answer for start in script])
    processor = _compared(
        [start.processor[-1] for start in muster], [start.processor[-1] for start in script]
    )
    ended = _compared([start.ended for start in muster], [start.ended for start in script])
    lines.append(["**the first answer**", *first.cells, *processor.cells])
    lines.append(["**the end of the command**", *ended.cells, "", "", ""])
    table(title, header, lines)
    return processor.ratio


class Compared(NamedTuple):
    """Two medians."""

    mine: float
    theirs: float

    @property
    def ratio(self) -> float:
        """Of Muster's over the script's."""
        return self.mine / self.theirs

    @property
    def cells(self) -> tuple[str, str, str]:
        """For a table."""
        return f"{self.mine:.2f}", f"{self.theirs:.2f}", f"{self.ratio:.2f}"


def _compared(mine: list[float], theirs: list[float]) -> Compared:
    return Compared(statistics.median(mine), statistics.median(theirs))


def main() -> int:
    """Print the tables; 1 if an aim was missed."""
    quick = asked_for_quick(__doc__)
    repeats = 1 if quick else 7
    print(f"# Start\n\n{machine()}")
    with scratch() as folder:
        write_question(folder, DEMO)
        if not quick:
            muster_run(folder, DEMO)  # whatever is read the first time is in the page cache from here on
        light = light_commands(LIGHT if quick else {**LIGHT, **IMPORTS}, repeats)
        muster, script = first_answers(folder, repeats, cold=False)
        floor = statistics.median(start.first_answer for start in script)
        table(
            f"Commands that load no model, median of {repeats}",
            ("command", "s", "of the plain script's first answer"),
            [[name, f"{seconds:.2f}", f"{seconds / floor:.0%}"] for name, seconds in light.items()],
        )
        ratio = first_answer_table(
            f"The demo model, files in the page cache, median of {repeats}", muster, script
        )
        if not quick:
            cold = first_answers(folder, 2, cold=True)
            first_answer_table(
                "The same with torch's and transformers' files not in the page cache, median of 2", *cold
            )
    say("One core's worth of threads (OMP_NUM_THREADS=1). `weights` includes building the model.")
    helps = max(light["muster --help"], light["muster run --help"]) / floor
    met = verdict(f"first answer within {AIM_FIRST} of the plain script's CPU seconds", ratio <= AIM_FIRST)
    return 0 if verdict(f"help within {AIM_HELP:.0%} of the script's time", helps <= AIM_HELP) and met else 1


if __name__ == "__main__":
    sys.exit(main())
