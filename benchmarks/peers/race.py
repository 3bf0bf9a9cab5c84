"""The same model and samples through Muster and lmms-eval: time, what a kill costs, what a broken picture costs.

    python -m benchmarks.peers.race --lmms-eval-python PYTHON      # an interpreter that has lmms-eval
    python -m benchmarks.peers.race --lmms-eval-python PYTHON --samples 40 --processes 1

Every row is a program of its own, started as its users start it, on the demo model and pictures of digits, on the CPU.
The tools take turns, so that other work on the machine meets both. Only ratios within one table mean anything.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.peers.race_questions import write_questions
from benchmarks.peers.tools import LmmsEval, Muster, Questions, Tool
from benchmarks.runs import ENVIRONMENT, scratch
from benchmarks.tables import machine, say, table

KILLED_AT = 0.8
MOST_SECONDS = 900.0
LOOK_SECONDS = 0.02


@dataclass(slots=True)
class Watched:
    """One program, from its start to its end. Seconds since the start."""

    seconds: float = 0.0
    first_saved: float | None = None
    cpu: float = 0.0
    """Of it and its children, as far as they were seen."""
    memory: int = 0
    """Bytes of all its processes together, at most."""
    status: int | None = None
    """None: it was killed."""
    answered: int = 0
    """When it was killed."""


def watch(
    tool: Tool,
    command: Sequence[str],
    output: Path,
    count: int,
    stop: Callable[[int], bool] = lambda _: False,
) -> Watched:
    """Run a program; `stop` is asked with the answers given so far, and a true one kills all its processes."""
    output.mkdir(parents=True, exist_ok=True)
    said = output.with_name(f"{output.name}.txt")
    found, looked = Watched(), 0.0
    before = tool.saved(output)
    began = time.monotonic()
    with said.open("wb") as file:
        environment = {**os.environ, **ENVIRONMENT, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                now = time.monotonic() - began
                if now > MOST_SECONDS:
                    raise SystemExit(
                        f"{tool.name} took more than {MOST_SECONDS:.0f} s: {said.read_text()[-2000:]}"
                    )
                if found.first_saved is None and tool.saved(output) > before:
                    found.first_saved = now
                if now - looked > 0.2:
                    looked = now
                    _measure(process.pid, found)
                found.answered = tool.answered(output, said.read_text(errors="replace"), count)
                if stop(found.answered):
                    break
                time.sleep(LOOK_SECONDS)
            else:
                found.status = process.returncode
                if found.first_saved is None and tool.saved(output) > before:
                    found.first_saved = time.monotonic() - began
        finally:
            _kill(process)
    found.seconds = time.monotonic() - began
    return found


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The program and everything it started, at once: what a node does that loses power."""
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.Error:
        family = []
    for each in family:
        try:
            os.kill(each.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def _measure(pid: int, found: Watched) -> None:
    memory, cpu = 0, 0.0
    try:
        for each in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            with each.oneshot():
                memory += each.memory_info().rss
                times = each.cpu_times()
                cpu += times.user + times.system
    except psutil.Error:
        return
    found.memory, found.cpu = max(found.memory, memory), max(found.cpu, cpu)


def clean(tool: Tool, questions: Questions, place: Path, processes: int, batch: int) -> list[str]:
    """A row of the first table."""
    output = place / f"{tool.name}-{processes}-{batch}"
    found = watch(tool, tool.command(questions, output, processes, batch), output, questions.count)
    score = tool.score(output)
    first = "never" if found.first_saved is None else f"{found.first_saved:.1f}"
    return [
        tool.name, str(processes), str(batch or "default"), f"{found.seconds:.1f}", f"{found.cpu:.1f}", first,
        f"{questions.count / found.seconds:.1f}", "none" if score is None else f"{score:.4f}",
        f"{found.memory / 2**20:,.0f}", str(found.status),
    ]  # fmt: skip


def killed(tool: Tool, questions: Questions, place: Path, batch: int) -> list[str]:
    """A row of the second: killed at 80 %, then started again."""
    output = place / f"{tool.name}-killed"
    command = tool.command(questions, output, 1, batch)
    wanted = KILLED_AT * questions.count
    first = watch(tool, command, output, questions.count, lambda answered: answered >= wanted)
    kept = tool.saved(output)
    again = watch(tool, command, output, questions.count)
    score = tool.score(output)
    lost = max(0, first.answered - kept)
    return [
        tool.name, f"{first.answered} of {questions.count}" + (" (it had ended)" if first.status is not None else ""),
        str(kept), str(lost), str(questions.count - kept), f"{again.seconds:.1f}", str(again.status),
        "none" if score is None else f"{score:.4f}",
    ]  # fmt: skip


def broken(tool: Tool, questions: Questions, place: Path, batch: int) -> list[str]:
    """A row of the third: a picture that can't be decoded."""
    output = place / f"{tool.name}-broken"
    found = watch(tool, tool.command(questions, output, 1, batch), output, questions.count)
    score = tool.score(output)
    shown = "none" if score is None else f"{score:.4f}"
    return [tool.name, f"{tool.saved(output)} of {questions.count - 1}", shown, str(found.status)]


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--lmms-eval-python", help="an interpreter that has lmms-eval; without, Muster runs alone"
    )
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--processes", default="1,2,4", help="separated by commas (default 1,2,4)")
    parser.add_argument(
        "--batch-size", type=int, default=16, help="with one process, beside each tool's default"
    )
    given = parser.parse_args()
    counts = [int(each) for each in given.processes.split(",")]
    tools: list[Tool] = [Muster()]
    if given.lmms_eval_python:
        tools.append(LmmsEval(given.lmms_eval_python))
    print(f"# The race\n\n{machine()}", flush=True)
    with scratch() as folder:
        questions = write_questions(folder / "questions", given.samples)
        rows = [
            clean(tool, questions, folder / f"clean{batch}", processes, batch)
            for processes, batch in [(1, given.batch_size), *((each, 0) for each in counts)]
            for tool in tools
        ]
        table(
            f"{given.samples} answers of the demo model",
            (
                "tool", "processes", "batch", "seconds", "CPU seconds", "first answer saved after", "answers/s",
                "score", "MiB at most", "exit code",
            ),
            rows,
        )  # fmt: skip
        table(
            f"Killed (-9) at {KILLED_AT:.0%}, then the same command again",
            (
                "tool",
                "answered",
                "kept",
                "lost",
                "made after the restart",
                "seconds of the restart",
                "exit code",
                "score",
            ),
            [killed(tool, questions, folder / "killed", 1) for tool in tools],
        )
        bad = write_questions(folder / "broken-questions", given.samples, broken=True)
        table(
            "One picture of them can't be decoded",
            ("tool", "answers saved of the others", "score", "exit code"),
            [broken(tool, bad, folder / "broken", 1) for tool in tools],
        )
    say(
        "The default batch is 1 with lmms-eval and Muster's own choice. Answers are counted by Muster's journal, which "
        "is handed to the system every second, and by lmms-eval's progress bar; kept are those that another start "
        "finds, in the journal and in the response cache (`--use_cache`). CPU seconds and memory are of all processes, "
        "looked at five times a second. On a busy machine seconds compare within one table only."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
