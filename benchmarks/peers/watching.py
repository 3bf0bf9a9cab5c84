"""A program of the race, watched from its start to its end: what it saved, when its phases were, what it used."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.peers.tools import INSIDE
from benchmarks.runs import ENVIRONMENT

LOOK_SECONDS = 0.05
MEMORY_SECONDS = 0.25


class Mark(NamedTuple):
    """A line of the marks that `inside/sitecustomize.py` writes."""

    at: float
    """Unix seconds."""
    process: int
    what: str


@dataclass(slots=True)
class Watched:
    """One program. Seconds since its start."""

    began: float = 0.0
    """Unix seconds."""
    seconds: float = 0.0
    first_saved: float | None = None
    cpu: float = 0.0
    """Of it and all its processes, those left out that nobody waited for and that lived less than `MEMORY_SECONDS`."""
    memory: int = 0
    """Resident bytes of all its processes together, at most."""
    status: int | None = None
    """None: it was killed, by `stop` or after too long."""
    marks: list[Mark] = field(default_factory=list)


def watch(
    command: Sequence[str],
    environment: Mapping[str, str],
    output: Path,
    saved: Callable[[], int],
    stop: Callable[[list[Mark]], bool] | None = None,
    most_seconds: float = 900.0,
) -> Watched:
    """Run a program. `saved` counts the answers in its files; a true `stop` kills all its processes."""
    output.mkdir(parents=True, exist_ok=True)
    said, marks = output.with_name(f"{output.name}.txt"), output.with_name(f"{output.name}.marks")
    marks.unlink(missing_ok=True)
    found, measured = Watched(), 0.0
    seen: dict[int, float] = {}
    before = saved()
    used = _children_seconds()
    found.began, began = time.time(), time.monotonic()
    given = {**os.environ, **ENVIRONMENT, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", **environment}
    given.update(
        RACE_MARKS=str(marks),
        PYTHONPATH=os.pathsep.join(filter(None, [str(INSIDE), given.get("PYTHONPATH")])),
    )
    with said.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=given, start_new_session=True
        )
        try:
            while process.poll() is None:
                now = time.monotonic() - began
                if found.first_saved is None and saved() > before:
                    found.first_saved = now
                if now - measured > MEMORY_SECONDS:
                    measured = now
                    found.memory = max(found.memory, _resident(process.pid, seen))
                if (stop is not None and stop(read_marks(marks))) or now > most_seconds:
                    break
                time.sleep(LOOK_SECONDS)
            else:
                found.status = process.returncode
                # An engine's processes aren't waited for by those who started them.
                found.cpu = max(_children_seconds() - used, sum(seen.values()))
        finally:
            kill_family(process.pid)
            process.wait()
    found.seconds = time.monotonic() - began
    if found.first_saved is None and saved() > before:
        found.first_saved = found.seconds
    found.marks = read_marks(marks)
    return found


def kill_family(pid: int) -> None:
    """A program and everything it started, at once: what a node does that loses power."""
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        family = []
    for each in family:
        try:
            os.kill(each.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def read_marks(path: Path) -> list[Mark]:
    """Those written so far; none where there is no file yet."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    return [Mark(float(at), int(process), what) for at, process, what in map(str.split, lines)]


class Phases(NamedTuple):
    """Seconds of a run, which add up to all of it."""

    start: float
    """Until a model begins to load: interpreters, imports, reading the samples."""
    load: float
    """Until a model is asked for the first time."""
    generate: float
    """Until the last answer."""
    gather: float
    """After that, of any process waiting for another."""
    score: float
    """The rest: scoring, writing, ending."""


def phases(found: Watched, last_answer: float | None = None) -> Phases | None:
    """By the marks; None where no model answered. `last_answer`: unix seconds, where the marks don't say it."""
    loads = [mark.at for mark in found.marks if mark.what == "load"]
    asked = [mark.at for mark in found.marks if mark.what == "ask"]
    ended = [mark.at for mark in found.marks if mark.what == "answered"]
    if not (loads and asked and ended):
        return None
    end = found.began + found.seconds
    last = min(end, last_answer or max(ended))
    gather = sum(
        max(0.0, stop - max(start, last))
        for start, stop in _joined(_meetings(found.marks, end))
        if stop > last
    )
    start = min(loads)
    return Phases(start - found.began, min(asked) - start, last - min(asked), gather, end - last - gather)


def _meetings(marks: Iterable[Mark], end: float) -> list[tuple[float, float]]:
    """When each process was in a collective."""
    began: dict[int, list[float]] = {}
    met = []
    for mark in marks:
        if mark.what == "meet":
            began.setdefault(mark.process, []).append(mark.at)
        elif mark.what == "met":
            met.append((began[mark.process].pop(), mark.at))
    return met + [(start, end) for open_ones in began.values() for start in open_ones]


def _joined(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same time without overlaps."""
    joined: list[tuple[float, float]] = []
    for start, stop in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], stop))
        else:
            joined.append((start, stop))
    return joined


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _resident(pid: int, seconds: dict[int, float]) -> int:
    """Resident bytes of a program and all that it started. `seconds`: gets each one's processor time so far."""
    total = 0
    try:
        for each in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            used = each.cpu_times()
            seconds[each.pid] = used.user + used.system
            total += each.memory_info().rss
    except psutil.Error:
        return total
    return total
