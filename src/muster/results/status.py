"""What a run is doing: read from its folder, by anybody, at any time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from muster.core import ConfigurationError, RequestKey, RunTimeoutError
from muster.results.answer_scoring import METRIC
from muster.results.answer_signs import CUT_OFF
from muster.results.belonging import check_belongs
from muster.results.folder import LockHolder, RunFolder
from muster.results.journal_lines import Entry, interned
from muster.results.journal_read import read_entries
from muster.results.manifest import Attempt, Manifest
from muster.results.results import Results
from muster.results.snapshot import Snapshot, Straggler, load_snapshot
from muster.results.verdicts import VerdictBook

State = Literal["new", "running", "interrupted", "failed", "complete"]

WINDOW_S = 60.0
"""Rates are over the last minute."""
_AT_WORK = frozenset(("starting", "loading", "working"))
"""States of a worker that end with its run; a run that has ended doesn't write them down again."""
TOP_ERRORS = 5


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """Requests of one task."""

    requested: int
    done: int
    """With an answer."""
    errored: int
    """Without an answer, with a failure."""
    cut_off: int = 0
    """Done, at the token limit."""
    unfinished: int = 0
    """Done, and broke off while the model was thinking, when they were last scored."""


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """What one worker did, in all attempts of the run."""

    finished: int
    """Completions, failures included."""
    rate: float
    """Completions per second: over the last minute of a running run, else over its time at work."""
    last_seen: float
    """Unix seconds of its last completion; 0 of one that has none."""
    state: str = ""
    """As its run says (`WorkerSnapshot.state`); empty for one of an earlier attempt."""
    restarts: int = 0
    """Times that its process was started again, in the last attempt."""
    holding: int = 0
    """Requests that it works on."""
    sample: str = ""
    """The oldest of them, `task/id`."""
    log: str = ""
    """Path of its log, where it has one here."""


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Requests that failed in the same way."""

    kind: str
    message: str
    count: int


@dataclass(frozen=True, slots=True)
class JudgeStatus:
    """What the judge that was asked last has said so far."""

    model: str
    verdicts: int
    failures: int
    """Questions to which it has given none."""


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a run."""

    run: str
    model: str
    state: State
    tasks: dict[str, TaskStatus]
    workers: dict[str, WorkerStatus]
    errors: tuple[ErrorGroup, ...]
    """The model's failures, the most frequent first; then what metrics raised on its answers."""
    rate: float
    """Completions per second, as for workers; of a running run what its own progress line says."""
    time_left: float | None
    """Seconds, as its progress line says; None where it isn't running or there is no rate yet."""
    attempts: int
    last: Attempt | None = None
    """Without its command."""
    holder: LockHolder | None = None
    judge: JudgeStatus | None = None
    """None: nobody has been asked."""
    name: str = ""
    """What the run is called, where it isn't by its model."""
    stragglers: tuple[Straggler, ...] = ()
    """Requests of a running run that take much longer than others do."""
    notice: str = ""
    """What the user should know right now."""

    @property
    def requested(self) -> int:
        """Of all tasks."""
        return sum(task.requested for task in self.tasks.values())

    @property
    def finished(self) -> int:
        """Done or errored, of all tasks."""
        return sum(task.done + task.errored for task in self.tasks.values())


@dataclass(slots=True)
class _Activity:
    """When completions came: bounded, whatever their number."""

    finished: int = 0
    recent: int = 0
    first: float = float("inf")
    last: float = 0.0

    def add(self, at: float, window_start: float) -> None:
        self.finished += 1
        self.recent += at > window_start
        self.first = min(self.first, at)
        self.last = max(self.last, at)

    def rate(self, running: bool, window: float) -> float:
        seconds, count = (window, self.recent) if running else (self.last - self.first, self.finished)
        return count / seconds if seconds > 0 else 0.0


@dataclass(slots=True)
class _Sums:
    done: set[RequestKey] = field(default_factory=set)
    cut_off: set[RequestKey] = field(default_factory=set)
    failed: dict[RequestKey, tuple[str, str]] = field(default_factory=dict)
    overall: _Activity = field(default_factory=_Activity)
    workers: dict[str, _Activity] = field(default_factory=dict)


def read_status(folder: RunFolder, now: float | None = None) -> Status:
    """The state of the run in `folder`. `now` in unix seconds. Raises `ConfigurationError` for no run folder."""
    manifest = Manifest.load(folder.manifest)
    check_belongs(folder, manifest.run)
    running = folder.is_locked()
    holder = folder.holder() if running else None
    at = time.time() if now is None else now
    judge = _judge(folder)
    entries = read_entries(folder.journal)
    status = summarise(manifest, entries, running=running, now=at, holder=holder, judge=judge)
    status = _as_scored(status, folder)
    snapshot = load_snapshot(folder.progress)
    if snapshot is None or snapshot.attempt != len(manifest.attempts):
        return _with_logs(status, folder)
    return _with_logs(_as_the_run_says(status, snapshot), folder)


def _as_the_run_says(status: Status, snapshot: Snapshot) -> Status:
    """With what only the run's own process knows."""
    workers = dict(status.workers)
    for each in snapshot.workers:
        known = workers.get(each.name, WorkerStatus(0, 0.0, 0.0))
        workers[each.name] = replace(
            known,
            rate=each.rate if status.state == "running" else known.rate,
            state=each.state if status.state == "running" or each.state not in _AT_WORK else "left",
            restarts=each.restarts,
            holding=each.holding,
            sample=each.sample,
        )
    status = replace(status, workers=workers)
    if status.state != "running":
        return status
    return replace(
        status,
        rate=snapshot.rate,
        time_left=snapshot.time_left,
        stragglers=tuple(snapshot.stragglers),
        notice=snapshot.notice,
    )


def _with_logs(status: Status, folder: RunFolder) -> Status:
    logs = {name: folder.log(name) for name in status.workers}
    return replace(
        status,
        workers={
            name: replace(worker, log=str(logs[name])) if logs[name].exists() else worker
            for name, worker in status.workers.items()
        },
    )


def _as_scored(status: Status, folder: RunFolder) -> Status:
    """With what only the scores say, where there are any: which answers are unfinished, on which a metric failed."""
    try:
        results = Results.load(folder.results)
    except ConfigurationError:
        return status
    scored = results.tasks if results.run == status.run else {}
    tasks = {
        name: replace(task, unfinished=scored[name].answers.unfinished) if name in scored else task
        for name, task in status.tasks.items()
    }
    failures = (
        ErrorGroup(METRIC, f"{name}: {message}", count)
        for name, task in scored.items()
        for message, count in task.samples.metric_failures.items()
    )
    return replace(status, tasks=tasks, errors=(*status.errors, *failures))


def _judge(folder: RunFolder) -> JudgeStatus | None:
    book = VerdictBook.load(folder.verdicts)
    return None if book.judge is None else JudgeStatus(book.judge.model, *book.counts())


def summarise(
    manifest: Manifest,
    entries: Iterable[Entry],
    *,
    running: bool,
    now: float,
    holder: LockHolder | None = None,
    judge: JudgeStatus | None = None,
) -> Status:
    """The state of a run from what its folder holds. Pure."""
    last = manifest.attempts[-1] if manifest.attempts else None
    started = last.started if last else manifest.created
    window = min(WINDOW_S, max(now - started, 1e-9))
    sums = _add_up(entries, now - window)
    tasks = _tasks(manifest, sums)
    rate = sums.overall.rate(running, window)
    open_requests = sum(task.requested - task.done - task.errored for task in tasks.values())
    return Status(
        run=manifest.run,
        name=manifest.name,
        model=manifest.model,
        state=state_of(last, running=running),
        tasks=tasks,
        workers={
            name: WorkerStatus(activity.finished, activity.rate(running, window), activity.last)
            for name, activity in sorted(sums.workers.items())
        },
        errors=_group(sums.failed.values()),
        rate=rate,
        time_left=max(open_requests, 0) / rate if running and rate > 0 else None,
        attempts=len(manifest.attempts),
        last=last and replace(last, command=[]),
        holder=holder,
        judge=judge,
    )


def _add_up(entries: Iterable[Entry], window_start: float) -> _Sums:
    sums = _Sums()
    for entry in entries:
        key = interned(entry.completion.key)
        failure = entry.completion.failure
        if failure is None:
            sums.done.add(key)
            if entry.completion.finish_reason == CUT_OFF:
                sums.cut_off.add(key)
            sums.failed.pop(key, None)
        elif key not in sums.done:
            sums.failed[key] = (failure.kind, f"{failure.type}: {failure.message}")
        sums.overall.add(entry.at, window_start)
        sums.workers.setdefault(entry.worker, _Activity()).add(entry.at, window_start)
    return sums


def _tasks(manifest: Manifest, sums: _Sums) -> dict[str, TaskStatus]:
    done = Counter(key.task for key in sums.done)
    failed = Counter(key.task for key in sums.failed)
    cut_off = Counter(key.task for key in sums.cut_off)
    return {
        name: TaskStatus(entry.requested, done[name], failed[name], cut_off[name])
        for name, entry in manifest.tasks.items()
    }


def _group(failures: Iterable[tuple[str, str]]) -> tuple[ErrorGroup, ...]:
    """By the first line of the message, which is where samples' failures are alike."""
    groups = Counter((kind, message.partition("\n")[0][:300]) for kind, message in failures)
    ranked = sorted(groups.items(), key=lambda item: (-item[1], item[0]))
    return tuple(ErrorGroup(kind, message, count) for (kind, message), count in ranked[:TOP_ERRORS])


def state_of(last: Attempt | None, *, running: bool) -> State:
    """What a run is doing, by how its last attempt ended and whether somebody works in its folder."""
    if running:
        return "running"
    if last is None:
        return "new"
    stopped = (
        last.exit_status is None or last.exit_status == RunTimeoutError.exit_code or last.exit_status >= 128
    )
    if last.ended is None or stopped:
        return "interrupted"
    return "complete" if last.exit_status in (0, 3) else "failed"
