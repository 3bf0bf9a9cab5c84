"""Counts of a run while it goes on, for whoever shows them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from muster.coordinator.rate import Rate
from muster.core import Completion, RequestKey
from muster.results.running_mean import RunningMean

WorkerState = Literal["starting", "loading", "working", "lost", "left", "failed", "not needed"]
RECENT = 200
"""Answers whose seconds say what is usual."""


@dataclass(slots=True)
class TaskProgress:
    """One task: how much is done and how it goes so far."""

    name: str
    total: int
    done: int = 0
    errored: int = 0
    kept_back: int = 0
    """Answered, but still with the worker (`--collect gather`)."""
    shown_score: str = ""
    """Name of the per-answer score whose running mean is shown."""
    score: RunningMean = field(default_factory=RunningMean)
    scoring_errors: int = 0

    def add(self, completion: Completion, scores: dict[str, float]) -> None:
        """Count one completion."""
        self.done += 1
        if not completion.succeeded:
            self.errored += 1
        if scores:
            self.score.add(scores.get(self.shown_score, next(iter(scores.values()))))


@dataclass(slots=True)
class WorkerProgress:
    """One worker, as progress displays see it, in threads of their own: plain values."""

    host: str = ""
    state: WorkerState = "starting"
    answered: int = 0
    holding: int = 0
    joined: bool = False
    """Came to a running run from another command."""
    restarts: int = 0
    slots: int = 1
    oldest: int | None = None
    """The request that it has held longest."""
    progressed: float = 0.0
    """When it last answered or started something (monotonic seconds)."""
    ready_at: float | None = None
    """When its model was loaded (monotonic seconds)."""
    rate: Rate = field(default_factory=Rate)


def _unnamed(index: int) -> RequestKey:
    return RequestKey("", str(index), 0)


def _as_any(index: int) -> float:
    del index
    return 1.0


@dataclass(slots=True)
class Progress:
    """The whole run. Updated by the coordinator, read by displays."""

    tasks: list[TaskProgress]
    workers: dict[str, WorkerProgress] = field(default_factory=dict)
    tokens: int = 0
    answered: int = 0
    """In this attempt."""
    ready_at: float | None = None
    """When the first worker was ready (monotonic seconds)."""
    answered_at: float = 0.0
    """When the last answer came (monotonic seconds)."""
    notice: str = ""
    """What the user should know right now: draining, waiting for ranks …"""
    notes: dict[str, str] = field(default_factory=dict)
    """What the models say of how they answer: see `Capacity`."""
    key_of: Callable[[int], RequestKey] = _unnamed
    """A request's key, by its index."""
    cost_of: Callable[[int], float] = _as_any
    """What a request will cost, by its index; in any unit."""
    cost_left: float = 0.0
    """Of all requests that aren't answered."""
    rate: Rate = field(default_factory=Rate)
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    """What the last answers took."""

    def note(self, notes: Mapping[str, str]) -> None:
        """Add what one replica's model says; where replicas differ, all of it stays."""
        for name, note in notes.items():
            known = self.notes.get(name, note)
            self.notes[name] = known if note in known else f"{known}; {note}"

    def worker(self, name: str, state: WorkerProgress) -> None:
        """Note a worker that has come or come back."""
        if (old := self.workers.get(name)) is not None:
            state.answered, state.rate = old.answered, old.rate
            state.restarts += old.restarts
        self.workers[name] = state

    def add(self, index: int, completion: Completion, worker: str, now: float) -> None:
        """Count one completion, beside its task's `TaskProgress.add`."""
        cost = self.cost_of(index)
        self.tokens += completion.usage.completion_tokens or 0
        self.answered += 1
        self.answered_at = now
        self.cost_left -= cost
        self.rate.add(now, cost)
        if (state := self.workers.get(worker)) is not None:
            state.rate.add(now, cost)
        if completion.seconds:
            self.seconds.append(completion.seconds)

    @property
    def done(self) -> int:
        """Requests with an answer or a recorded failure, earlier attempts included."""
        return sum(task.done for task in self.tasks)

    @property
    def kept_back(self) -> int:
        """Answers that are still with the workers."""
        return sum(task.kept_back for task in self.tasks)

    @property
    def total(self) -> int:
        """Requests of the run."""
        return sum(task.total for task in self.tasks)

    @property
    def errored(self) -> int:
        """Requests whose failure was recorded."""
        return sum(task.errored for task in self.tasks)
