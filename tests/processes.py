"""Runs `muster` as users do: real processes, real signals, with a benchmark made on the spot."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from fork_server import ForkedMuster, ForkedProgram, can_be_forked, may_be_forked
from forked_children import LAUNCHERS
from muster.engines import resume_watch
from muster.results.journal import Record, read_journal
from muster.results.results import Results
from muster.toolkits.process import INSIDE
from netns import Host

if TYPE_CHECKING:
    import pytest

FAKES = Path(__file__).parent / "fake_models.py"
SMALL_LAUNCHER = Path(__file__).parent / "small_launcher.py"
_OUR_FOLDERS = {str(FAKES.parents[1] / name) for name in ("", "src", "tests", "tests/fake_vllm")}
"""A path with no other folders takes no library's place."""
_SMALL = [sys.executable, "-I", "-S", str(SMALL_LAUNCHER)]
DEADLINE = 240.0
"""Seconds after which a process that should have ended counts as hung, also on a machine that is full of others."""


def fake(name: str) -> str:
    """The `--backend` of one of the fake models."""
    return f"{FAKES}:{name}"


def write_benchmark(folder: Path, count: int, name: str = "echo") -> Path:
    """A benchmark whose right answers are what `Echo` says."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "id": f"s{i}",
            "question": "Say it. " * (1 + i % 7),
            "answer": f"answer s{i}",
            "metadata": {"kind": "ab"[i % 2]},
        }
        for i in range(count)
    ]
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = folder / f"{name}.yaml"
    task.write_text(f"name: {name}\nsource: {{file: {name}.jsonl}}\nmetric: exact_match\nby: [kind]\n")
    return task


def gone(process: psutil.Process) -> bool:
    """Whether a process has ended; one that nobody has waited for yet (a zombie) has."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def until(true: Callable[[], object], what: str = "what the test waits for") -> None:
    """Wait until something has come true."""
    limit = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < limit, f"waited in vain for {what}"
        time.sleep(0.02)


def until_gone(*processes: psutil.Process) -> None:
    """Wait until processes have ended, whoever is to reap them; psutil's own `wait` waits for that too."""
    limit = time.monotonic() + DEADLINE
    while left := [process for process in processes if not gone(process)]:
        assert time.monotonic() < limit, f"{left} did not end"
        time.sleep(0.02)


def command_of(process: psutil.Process) -> list[str]:
    """A process's command line; empty where it has just ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@dataclass
class Run:
    """One started `muster run`."""

    process: subprocess.Popen[str]
    output: Path
    stdout: str = ""
    stderr: str = ""
    _children: list[psutil.Process] = field(default_factory=list)

    def wait(self) -> int:
        """Wait for the end and return the exit status; a run that doesn't end fails the test."""
        try:
            self.stdout, self.stderr = self.process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            self.kill_everything()
            self.stdout, self.stderr = self.process.communicate()
            raise AssertionError(f"the run hangs\n{self.stdout}\n{self.stderr}\n{self.logs()}") from None
        return self.process.returncode

    def results(self) -> Results:
        """What the run scored."""
        return Results.load(self.output / "results.json")

    def logs(self) -> str:
        """All workers' logs."""
        return "\n".join(f"== {log.name}\n{log.read_text()}" for log in sorted(self.output.glob("logs/*")))

    def journal(self) -> list[Record]:
        """The completions in the journal."""
        return list(read_journal(self.output / "journal.jsonl"))

    def answered(self) -> int:
        """Records in the journal so far."""
        path = self.output / "journal.jsonl"
        return max(0, path.read_bytes().count(b"\n") - 1) if path.exists() else 0

    def workers(self) -> dict[int, psutil.Process]:
        """Worker processes by rank; rank 0's own process under a launcher is the coordinator, not a worker."""
        found: dict[int, psutil.Process] = {}
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if "muster.worker.worker" in process.cmdline():
                    found[len(found)] = process
            except psutil.Error:
                continue
        return found

    def worker_of(self, rank: int) -> psutil.Process:
        """The process that holds the model of a launcher's rank, as soon as there is one."""

        def found() -> list[psutil.Process]:
            return [worker for worker in self.workers().values() if worker.environ()["RANK"] == str(rank)]

        self.until(found, f"the worker of rank {rank}")
        return found()[0]

    def ranks(self) -> dict[int, psutil.Process]:
        """The launcher's processes by global rank."""
        found: dict[int, psutil.Process] = {}
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                command, environment = process.cmdline(), process.environ()
                if "muster" in command and "run" in command and "RANK" in environment:
                    found[int(environment["RANK"])] = process
            except psutil.Error:
                continue
        return found

    def until(self, true: Callable[[], object], what: str) -> None:
        """Wait until something has come true."""
        limit = time.monotonic() + DEADLINE
        while not true():
            assert time.monotonic() < limit, f"waited in vain for {what}\n{self.logs()}"
            assert self.process.poll() is None, (
                f"ended before {what}: {self.process.communicate()}\n{self.logs()}"
            )
            time.sleep(0.02)

    def until_answered(self, count: int) -> None:
        """Wait until the journal holds so many records."""
        self.until(lambda: self.answered() >= count, f"{count} answers")

    def kill_everything(self) -> None:
        """End the run and all that it started."""
        root = psutil.Process(self.process.pid)
        for process in [*root.children(recursive=True), root]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)


def start(
    output: Path,
    *arguments: str,
    launcher: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    preexec: Callable[[], None] | None = None,
    heavy: bool | None = None,
) -> Run:
    """Start `muster run --output OUTPUT ARGUMENTS`, alone or under a launcher.

    `heavy`: whether torch loads the model, where the arguments don't tell.
    """
    heavy = holds_the_model(arguments) if heavy is None else heavy
    words = [*(launcher or [sys.executable]), "-m", "muster", "run", "--output", str(output), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment}
    process: subprocess.Popen[str]
    if preexec is None:
        process = start_program(words, heavy=heavy, **streams)
    else:
        process = subprocess.Popen(words, text=True, preexec_fn=preexec, **streams)
    return Run(process, output)


def start_program(
    words: Sequence[str],
    *,
    heavy: bool = False,
    on: Host | None = None,
    env: Mapping[str, str],
    **streams: Any,
) -> subprocess.Popen[str]:
    """Start a command line, as a fork where it is this Python's and that makes no difference.

    `heavy`: its imports are those of torch, too. `on`: the host where it runs. `env`: all of its variables.
    """
    words = list(words)
    options = {"heavy": heavy, "env": env, "on": on and on.place(), **streams}
    but_for = {"TOKENIZERS_PARALLELISM"}  # which is read when a tokenizer is used
    if {*env.get("PYTHONPATH", "").split(os.pathsep)} <= _OUR_FOLDERS:
        but_for.add("PYTHONPATH")
    compared = {**env, "HOME": os.environ["HOME"]} if on else env
    if words[:3] == [sys.executable, "-m", "muster"] and can_be_forked(compared, but_for):
        return ForkedMuster(words[3:], **options)
    if words[:1] == [sys.executable] and may_be_forked(compared):
        if words[1:4] == _SMALL[1:]:
            return ForkedProgram(*words[3:], **options)
        if words[1:2] == ["-m"] and words[2] in LAUNCHERS:
            return ForkedProgram(*words[2:], **{**options, "heavy": True})
    return subprocess.Popen(on.command(*words) if on else words, text=True, env=env, **streams)


def holds_the_model(arguments: Sequence[str]) -> bool:
    """Whether `muster run ARGUMENTS`, or what it starts, loads a model with torch."""
    options = dict(itertools.pairwise(arguments))
    return options.get("--backend", "transformers") == "transformers"


def start_muster(
    *arguments: str,
    heavy: bool = False,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int | None = None,
) -> subprocess.Popen[str]:
    """Start `muster ARGUMENTS`, as a fork of a process that has the imports where that makes no difference.

    `heavy`: those of torch and transformers too. `env`: all of its variables (default: this process's).
    """
    variables = {**os.environ, "OMP_NUM_THREADS": "1"} if env is None else env
    streams: dict[str, Any] = {
        "stdin": stdin,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "cwd": cwd,
    }
    return start_program([sys.executable, "-m", "muster", *arguments], heavy=heavy, env=variables, **streams)


def run_muster(
    *arguments: str, heavy: bool = False, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """`muster ARGUMENTS` to its end; see `start_muster`."""
    with start_muster(*arguments, heavy=heavy, env=env, cwd=cwd) as process:
        try:
            stdout, stderr = process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def watches_of(rank: psutil.Process) -> list[psutil.Process]:
    """The process beside a launcher's rank that has it go on when it is stopped."""
    return [child for child in rank.children() if resume_watch.__file__ in command_of(child)]


def stop_for_good(rank: psutil.Process) -> None:
    """SIGSTOP a launcher's rank, and kill the process beside it that would have it go on."""
    until(lambda: watches_of(rank), f"who looks after rank {rank}")
    rank.send_signal(signal.SIGSTOP)
    for watch in watches_of(rank):
        watch.kill()


def launched(ranks: int, *options: str) -> list[str]:
    """`ranks` processes on this machine, of the small launcher: for what Muster does under any."""
    return [*_SMALL, str(ranks), *options]


def torchrun(ranks: int, *options: str) -> list[str]:
    """The same of torchrun, for what is torchrun's or c10d's own doing."""
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={ranks}",
        *options,
    ]


def with_fake_toolkit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An interpreter in `folder` whose lmms-eval is the fake toolkit."""
    script = folder / "python"
    fake_toolkit = Path(__file__).parent / "fake_toolkit.py"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{fake_toolkit}" "$2"\n')
    script.chmod(0o755)
    monkeypatch.setenv("MUSTER_TEST_INSIDE", str(INSIDE))
    monkeypatch.setenv("MUSTER_CACHE", str(folder / "cache"))
    return script
