"""What the list of runs says of one: read from its manifest and its results, never from its samples."""

from __future__ import annotations

from pathlib import Path

import msgspec

from muster.core import JSON
from muster.core.regular_files import regular
from muster.results.manifest import Attempt
from muster.results.snapshot import Snapshot
from muster.results.status import State, state_of
from muster.view.discovery import Found

BROKEN = "not readable"


class Score(msgspec.Struct, frozen=True):
    """What stands for a task or a group."""

    metric: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    maximum: float | None = None


class Summary(msgspec.Struct, frozen=True):
    """One run."""

    name: str
    """Its folder below the one that is viewed."""
    label: str
    model: str
    state: str
    """`State`, or `BROKEN`."""
    created: float
    """Unix seconds."""
    requested: int
    answered: int
    errored: int
    scores: dict[str, Score]
    """By task."""
    groups: dict[str, Score]
    problem: str = ""
    """Why it can't be read."""


class _Config(msgspec.Struct):
    name: str | None = None


class _Entry(msgspec.Struct):
    requested: int = 0


class _Manifest(msgspec.Struct):
    run: str
    model: str
    created: float
    config: _Config = msgspec.field(default_factory=_Config)
    tasks: dict[str, _Entry] = {}
    attempts: tuple[Attempt, ...] = ()


class _Metric(msgspec.Struct):
    value: float | None = None
    ci95: tuple[float | None, float | None] | None = None
    unit: str = ""
    maximum: float | None = None


class _Counts(msgspec.Struct):
    requested: int = 0
    succeeded: int = 0
    errored: int = 0
    no_reference: int = 0


class _Task(msgspec.Struct):
    primary: str = ""
    samples: _Counts = msgspec.field(default_factory=_Counts)
    metrics: dict[str, _Metric] = {}


class _Group(msgspec.Struct):
    metrics: dict[str, _Metric] = {}


class _Results(msgspec.Struct):
    run: str
    tasks: dict[str, _Task] = {}
    groups: dict[str, _Group] = {}


_manifests = msgspec.json.Decoder(_Manifest)
_results = msgspec.json.Decoder(_Results)


def summarise(found: Found) -> tuple[Summary, Attempt | None]:
    """A run as its files say it, and its last attempt; a folder that can't be read is `BROKEN`, and says why."""
    folder = found.folder
    try:
        manifest = _manifests.decode(regular(folder.manifest).read_bytes())
        results = _read_results(folder.results, manifest.run)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Summary(found.name, found.name, "", BROKEN, 0.0, 0, 0, 0, {}, {}, str(error)), None
    last = manifest.attempts[-1] if manifest.attempts else None
    counts = [task.samples for task in results.tasks.values()]
    summary = Summary(
        name=found.name,
        label=manifest.config.name or manifest.model,
        model=manifest.model,
        state=state_of(last, running=False),
        created=manifest.created,
        requested=sum(task.requested for task in manifest.tasks.values()),
        answered=sum(each.succeeded + each.no_reference for each in counts),
        errored=sum(each.errored for each in counts),
        scores={
            name: _score(task.primary, task.metrics[task.primary])
            for name, task in results.tasks.items()
            if task.primary in task.metrics
        },
        groups={
            name: _score(*metric)
            for name, group in results.groups.items()
            for metric in list(group.metrics.items())[:1]
        },
    )
    return summary, last


def may_be_running(last: Attempt | None) -> bool:
    """Whether the lock has to be looked at: its last attempt has no end."""
    return last is None or last.ended is None


def now_running(summary: Summary, lines: int, snapshot: Snapshot | None) -> Summary:
    """The summary of a run that goes on: as many answers as there are records in its journal, and its scores so far."""
    running: State = "running"
    answered = max(min(max(lines - 1, 0), summary.requested), summary.answered)
    so_far = {
        task.name: Score(task.score_name, task.score, low, high, "")
        for task in (snapshot.tasks if snapshot else ())
        if task.score is not None
        for low, high in [task.ci95 or (None, None)]
    }
    return msgspec.structs.replace(
        summary, state=running, answered=answered, scores={**so_far, **summary.scores}
    )


def as_json(summary: Summary) -> dict[str, JSON]:
    """For the JSON twins."""
    found: dict[str, JSON] = msgspec.to_builtins(summary)
    return found


def _read_results(path: Path, run: str) -> _Results:
    """Nothing where there are none yet, or another run's."""
    try:
        results = _results.decode(regular(path).read_bytes())
    except FileNotFoundError:
        return _Results(run)
    return results if results.run == run else _Results(run)


def _score(name: str, metric: _Metric) -> Score:
    low, high = metric.ci95 or (None, None)
    return Score(name, metric.value, low, high, metric.unit, metric.maximum)
