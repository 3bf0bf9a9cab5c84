"""The runs of the race, one row each, kept as they are made."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.peers.tools import Questions, Start, Tool
from benchmarks.peers.watching import Mark, Phases, Watched, phases, watch
from benchmarks.tables import say

KILLED_AT = 0.8
DIES_AT = 0.5


@dataclass(frozen=True, slots=True)
class Row:
    """One run; of the killed ones the restart. Seconds; None: it didn't come to that."""

    part: str
    tool: str
    processes: int
    batch: int
    """0: the tool's default."""
    repeat: int
    samples: int
    seconds: float
    phases: Phases | None
    cpu: float
    first_saved: float | None
    memory: int
    status: int | None
    saved: int
    score: float | None
    answered: int = 0
    """Of a killed run: answers that the model had given."""
    kept: int = 0
    """Of them, those in files."""
    made: int = 0
    """Answers that the restart asked the model for."""


@dataclass(slots=True)
class Race:
    """Runs what isn't in the rows yet."""

    tools: Sequence[Tool]
    folder: Path
    device: str
    most_seconds: float
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self._file.exists():
            for line in self._file.read_text().splitlines():
                known = json.loads(line)
                known["phases"] = known["phases"] and Phases(*known["phases"])
                self.rows.append(Row(**known))

    @property
    def _file(self) -> Path:
        return self.folder / "rows.jsonl"

    def clean(self, part: str, questions: Questions, processes: int, batch: int, repeat: int) -> None:
        """Each tool once, undisturbed. `batch` 0: its default."""
        for tool in self.tools:
            if (batch and not tool.has_batches) or not _can(tool, processes):
                continue
            if start := self._missing(part, tool, processes, batch, repeat):
                self._keep(part, tool, start, questions, repeat, self._run(tool, questions, start))

    def killed(self, questions: Questions) -> None:
        """Killed (-9) with all its processes at 80 %, then the same command again.

        In batches of 1, so that a call of `generate` is an answer.
        """
        wanted = KILLED_AT * questions.count
        for tool in self.tools:
            if start := self._missing("killed", tool, 1, 1, 0):
                first = self._run(tool, questions, start, lambda marks: answers(marks) >= wanted)
                if first.status is not None:
                    say(f"{tool.name} ended with {first.status} before it could be killed.")
                    continue
                kept = tool.saved(start.output)
                again = self._run(tool, questions, start)
                self._keep(
                    "killed",
                    tool,
                    start,
                    questions,
                    0,
                    again,
                    answers(first.marks),
                    kept,
                    answers(again.marks),
                )

    def disturbed(self, part: str, questions: Questions, processes: int) -> None:
        """`broken`: a picture can't be decoded. `dies`: of the processes one with a model is killed (-9) halfway."""
        for tool in self.tools:
            if _can(tool, processes) and (start := self._missing(part, tool, processes, 1, 0)):
                stop = _KillOne(questions.count) if part == "dies" else None
                self._keep(part, tool, start, questions, 0, self._run(tool, questions, start, stop))

    def _missing(self, part: str, tool: Tool, processes: int, batch: int, repeat: int) -> Start | None:
        """How to run what isn't there yet."""
        key = (part, tool.name, processes, batch, repeat)
        if any((row.part, row.tool, row.processes, row.batch, row.repeat) == key for row in self.rows):
            return None
        output = self.folder / "runs" / "-".join(map(str, key))
        return Start(output, processes, batch, self.device)

    def _run(
        self,
        tool: Tool,
        questions: Questions,
        start: Start,
        stop: Callable[[list[Mark]], bool] | None = None,
    ) -> Watched:
        environment = {**tool.environment(questions, start), "RACE_DEVICE": start.device}
        command = tool.command(questions, start)
        return watch(
            command, environment, start.output, lambda: tool.saved(start.output), stop, self.most_seconds
        )

    def _keep(
        self,
        part: str,
        tool: Tool,
        start: Start,
        questions: Questions,
        repeat: int,
        found: Watched,
        answered: int = 0,
        kept: int = 0,
        made: int = 0,
    ) -> None:
        """Add a finished row, and to the file."""
        output = start.output
        row = Row(
            part=part,
            tool=tool.name,
            processes=start.processes,
            batch=start.batch,
            repeat=repeat,
            samples=questions.count,
            seconds=found.seconds,
            phases=phases(found, tool.last_answer(output)),
            cpu=found.cpu,
            first_saved=found.first_saved,
            memory=found.memory,
            status=found.status,
            saved=tool.saved(output),
            score=tool.score(questions, output),
            answered=answered,
            kept=kept,
            made=made,
        )
        self.rows.append(row)
        with self._file.open("a") as lines:
            lines.write(json.dumps(asdict(row)) + "\n")


def _can(tool: Tool, processes: int) -> bool:
    return tool.most_processes is None or processes <= tool.most_processes


def answers(marks: Sequence[Mark]) -> int:
    """Answers that a model has given: calls of `generate` that have ended, or rows, where they end without one."""
    return sum(mark.what == "gave" for mark in marks) or sum(mark.what == "answered" for mark in marks)


class _KillOne:
    """Kills the process that loaded its model last, once."""

    def __init__(self, count: int) -> None:
        self._wanted, self._killed = DIES_AT * count, False

    def __call__(self, marks: list[Mark]) -> bool:
        models = [mark.process for mark in marks if mark.what == "loaded"]
        if not self._killed and answers(marks) >= self._wanted and models:
            self._killed = True
            os.kill(models[-1], signal.SIGKILL)
        return False
