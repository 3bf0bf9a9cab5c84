"""One replica that an engine starts, and what the run remembers of it; processes and Ray actors implement it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from muster.worker.joining import Start

MOST_FRUITLESS_STARTS = 6
"""Starts in a row that answered nothing, after which a replica is given up. A poisonous sample costs two or three."""


@dataclass(slots=True)
class Replica(ABC):
    """A worker that can be started again and again, and the history of its starts."""

    start: Start
    fruitless_starts: int = field(default=0, init=False)
    answered_before: int = field(default=0, init=False)
    given_up: bool = field(default=False, init=False)
    failure: str = field(default="", init=False)
    """Why it failed last."""

    @property
    def name(self) -> str:
        """The worker's name."""
        return self.start.name

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether its process exists."""

    @property
    def stopped(self) -> bool:
        """Whether its process was stopped by a signal and stands still; False where that can't be seen."""
        return False

    @abstractmethod
    async def launch(self) -> None:
        """Start it."""

    @abstractmethod
    async def wait(self) -> str:
        """Wait for its end; returns how it ended, in words."""

    @abstractmethod
    async def abort(self) -> None:
        """End one that may be stuck, if it runs, after its stacks were written to its log."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once, if it runs."""

    def may_restart(self, answered: int) -> bool:
        """Count one more death, and say whether another start is worth it: it is as long as starts bear fruit."""
        self.fruitless_starts = 0 if answered > self.answered_before else self.fruitless_starts + 1
        self.answered_before = answered
        self.given_up = self.fruitless_starts >= MOST_FRUITLESS_STARTS
        return not self.given_up
