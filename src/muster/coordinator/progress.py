"""Counts of a run while it goes on, for whoever shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from muster.core import Completion


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
    scored: int = 0
    score_sum: float = 0.0
    scoring_errors: int = 0

    def add(self, completion: Completion, scores: dict[str, float]) -> None:
        """Count one completion."""
        self.done += 1
        if not completion.succeeded:
            self.errored += 1
        if scores:
            self.scored += 1
            self.score_sum += scores.get(self.shown_score, next(iter(scores.values())))

    @property
    def mean(self) -> float | None:
        """The running mean of the shown score."""
        return self.score_sum / self.scored if self.scored else None


@dataclass(slots=True)
class WorkerProgress:
    """One worker, as progress displays see it."""

    host: str = ""
    state: str = "starting"
    answered: int = 0
    holding: int = 0
    joined: bool = False
    """Came to a running run from another command."""


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

    def note(self, notes: Mapping[str, str]) -> None:
        """Add what one replica's model says; where replicas differ, all of it stays."""
        for name, note in notes.items():
            known = self.notes.get(name, note)
            self.notes[name] = known if note in known else f"{known}; {note}"

    def worker(self, name: str, state: WorkerProgress) -> None:
        """Note a worker that has come or come back."""
        if name in self.workers:
            state.answered = self.workers[name].answered
        self.workers[name] = state

    @property
    def rate(self) -> float:
        """Answers per second, from the readiness of the first worker to the last answer; 0 before there is one."""
        seconds = self.answered_at - (self.ready_at or self.answered_at)
        return self.answered / seconds if seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time to go at the rate so far."""
        return (self.total - self.done) / self.rate if self.rate else None

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
