"""How long a run takes with N replicas: the production queue under a simulated clock. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from muster.scheduling.simulator import Replica, simulate

DOUBLINGS = tuple(2**power for power in range(13))
"""1 … 4,096."""


@dataclass(frozen=True, slots=True)
class Work:
    """The requests of a run, in any unit of cost."""

    costs: NDArray[np.float64]
    batch_keys: tuple[int, ...]
    """Requests with the same key may share a batch."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How one replica works."""

    seconds: float
    """For one unit of cost in one of its slots, or of the longest request of a batch."""
    slots: int = 1
    """Requests at the same time."""
    batched: bool = False
    """They start and end together."""
    load_seconds: float = 0.0
    """From its start until it is ready."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """A run with so many replicas."""

    replicas: int
    gpus: int
    seconds: float
    """From the first claim to the last answer, with loading before it."""
    efficiency: float
    """The time that one replica would take over this time times the replicas, both without loading; 0–1."""
    gpu_hours: float


def calibrate(work: Work, seconds: float, *, slots: int, batched: bool, load_seconds: float = 0.0) -> Pace:
    """The pace of a replica that would have taken `seconds` for all of the work, alone."""
    unit = simulate(work.costs, work.costs, [Replica(1.0, slots, batched)], batch_keys=work.batch_keys)
    return Pace(seconds / unit.makespan if unit.makespan else 0.0, slots, batched, load_seconds)


def forecast(
    work: Work, pace: Pace, gpus_per_replica: int, counts: Sequence[int] = DOUBLINGS
) -> tuple[Expectation, ...]:
    """An expectation for each number of replicas, all of the same speed, one claim ahead each.

    The scheduler knows the costs, as with `--lengths-from`.
    """
    alone = _seconds(work, pace, 1)
    return tuple(
        _expectation(count, gpus_per_replica, _seconds(work, pace, count), alone, pace.load_seconds)
        for count in sorted(set(counts))
    )


def _seconds(work: Work, pace: Pace, replicas: int) -> float:
    """From the first claim to the last answer."""
    team = [Replica(1.0 / pace.seconds, pace.slots, pace.batched, overlap=1)] * replicas
    return simulate(work.costs, work.costs, team, batch_keys=work.batch_keys).makespan


def _expectation(replicas: int, each: int, working: float, alone: float, loading: float) -> Expectation:
    seconds, gpus = working + loading, replicas * each
    efficiency = min(1.0, alone / (replicas * working)) if working else 1.0
    return Expectation(replicas, gpus, seconds, efficiency, gpus * seconds / 3600)
