"""A run under a simulated clock: the production queue, and replicas that only take time."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from muster.core.choices import Schedule
from muster.scheduling.queue import Claim, Item, Loss, WorkQueue


@dataclass(frozen=True, slots=True)
class Replica:
    """How fast a replica is and how it works."""

    speed: float = 1.0
    """Cost per second in each of its slots, or of one batch."""
    slots: int = 1
    batched: bool = False
    overlap: int = 0
    """Claims ahead while it works: requests, or batches where it is batched."""
    away: tuple[tuple[float, float], ...] = ()
    """From when until when it isn't there, in order and apart: it joins late, or is lost and started again."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What became of a simulated run. Times in seconds, if costs are the seconds of a replica of speed 1."""

    makespan: float
    bound: float
    """No schedule could have been faster than this, not even one that knew the costs."""
    claims: int
    """Claims that got work."""
    busy: tuple[float, ...]
    """Per replica, the time of the work that it began (for slots, the mean over them)."""
    poisoned: int = 0
    """Requests that were given up, because three replicas were lost while they held them."""

    @property
    def efficiency(self) -> float:
        """Bound over makespan, 0–1; 1 for an empty run."""
        return self.bound / self.makespan if self.makespan else 1.0


class Dispenser(Protocol):
    """What the simulator needs of a queue: `WorkQueue`, or a stand-in to compare it with."""

    def join(self, worker: str, *, rank: int, slots: int, batched: bool) -> None:
        """See `WorkQueue.join`."""
        ...

    def claim(self, worker: str, limit: int, *, idle: bool) -> Claim:
        """See `WorkQueue.claim`."""
        ...

    def complete(self, worker: str, index: int) -> Literal["accepted", "duplicate"]:
        """See `WorkQueue.complete`."""
        ...

    def lose(self, worker: str) -> Loss:
        """See `WorkQueue.lose`."""
        ...


def batch_time(costs: Sequence[float], batch_sum: float) -> float:
    """Time of a static batch: the longest, plus `batch_sum` (0–1) of what the others cost.

    0 is a GPU whose decoding is bound by memory; 1 is a CPU that gains nothing from batching.
    """
    longest = max(costs)
    return longest + batch_sum * (sum(costs) - longest)


def lower_bound(costs: NDArray[np.float64], replicas: Sequence[Replica], *, batch_sum: float = 0.0) -> float:
    """The makespan that no schedule can beat: all work spread evenly, or the longest request on the fastest.

    For batched replicas, `all work` is that of the best batches there are: full ones of sorted costs.
    Replicas must be all batched with equal slots, or none of them.
    """
    if not len(costs):
        return 0.0
    longest = float(costs.max()) / max(replica.speed for replica in replicas)
    if replicas[0].batched:
        firsts = float(np.sort(costs)[::-1][:: replicas[0].slots].sum())
        work = firsts + batch_sum * (float(costs.sum()) - firsts)
        return max(_time_for(work, replicas, batched=True), longest)
    return max(_time_for(float(costs.sum()), replicas, batched=False), longest)


def _time_for(work: float, replicas: Sequence[Replica], *, batched: bool) -> float:
    """When replicas that always work, while they are there, have done so much."""
    changes: list[tuple[float, float]] = []
    rate = 0.0
    for replica in replicas:
        own = replica.speed * (1 if batched else replica.slots)
        rate += own
        for start, end in replica.away:
            changes += [(start, -own), (end, own)]
    now = 0.0
    for at, change in sorted(changes):
        if rate > 0 and work <= rate * (at - now):
            break
        work -= max(0.0, rate) * (at - now)
        now, rate = at, rate + change
    return now + work / rate


def simulate(
    costs: Sequence[float] | NDArray[np.float64],
    predicted: Sequence[float] | NDArray[np.float64],
    replicas: Sequence[Replica],
    schedule: Schedule = "dynamic",
    *,
    batch_keys: Sequence[int] | None = None,
    batch_sum: float = 0.0,
    handling: float = 0.0,
    queue: Dispenser | None = None,
) -> Simulation:
    """Play a run of requests that cost `costs` on replicas, scheduled by `predicted`.

    `handling`: seconds from a claim until its work can start (transport, media), hidden where the claim was
    made ahead. `queue`: a stand-in for the `WorkQueue` that `schedule` and `predicted` would make.
    """
    real = np.asarray(costs, dtype=np.float64)
    if queue is None:
        keys = batch_keys if batch_keys is not None else [0] * len(real)
        items = [Item(float(cost), key) for cost, key in zip(predicted, keys, strict=True)]
        queue = WorkQueue(items, schedule=schedule, replicas=len(replicas))
    run = _Run(queue, real.tolist(), replicas, batch_sum, handling)
    bound = lower_bound(real, replicas, batch_sum=batch_sum)
    makespan = run.play()
    return Simulation(makespan, bound, run.claims, tuple(state.busy for state in run.states), run.poisoned)


@dataclass(slots=True)
class _State:
    name: str
    replica: Replica
    there: bool = True
    life: int = 0
    """How often it was lost: what an earlier life started never ends."""
    running: int = 0
    """Requests in slots, or 1 while a batch runs."""
    held: int = 0
    ready: deque[tuple[float, tuple[int, ...]]] = field(default_factory=deque)
    """Claimed, with the time from which it can start: single requests, or batches."""
    busy: float = 0.0


class _Event(NamedTuple):
    """What happens next. Of things at the same time, the earlier said comes first."""

    at: float
    order: int
    rank: int
    what: Literal["end", "lost", "there"]
    indices: tuple[int, ...] = ()
    life: int = 0


class _Run:
    def __init__(
        self,
        queue: Dispenser,
        costs: list[float],
        replicas: Sequence[Replica],
        batch_sum: float,
        handling: float,
    ) -> None:
        self._queue = queue
        self._costs = costs
        self._batch_sum = batch_sum
        self._handling = handling
        self._events: list[_Event] = []
        self._said = 0
        self._done = 0
        self.claims = 0
        self.poisoned = 0
        self.states = [_State(f"worker {rank}", replica) for rank, replica in enumerate(replicas)]

    def play(self) -> float:
        """Run until everything is done; the makespan. Raises `RuntimeError` where work was left over."""
        for rank, state in enumerate(self.states):
            state.there = not state.replica.away or state.replica.away[0][0] > 0
            for start, end in state.replica.away:
                if start > 0:
                    self._happens(start, rank, "lost")
                self._happens(end, rank, "there")
            if state.there:
                self._join(rank)
        for rank, state in enumerate(self.states):
            if state.there:
                self._keep_busy(rank, 0.0)
        now = 0.0
        while self._done < len(self._costs) and self._events:
            event = heapq.heappop(self._events)
            now = event.at
            if event.what == "end":
                self._end(event)
            elif event.what == "lost":
                self._lose(event.rank, now)
            else:
                self.states[event.rank].there = True
                self._join(event.rank)
                self._keep_busy(event.rank, now)
        if self._done != len(self._costs):
            raise RuntimeError(f"the run ended with {self._done} of {len(self._costs)} requests done")
        return now

    def _happens(
        self,
        at: float,
        rank: int,
        what: Literal["end", "lost", "there"],
        indices: tuple[int, ...] = (),
    ) -> None:
        self._said += 1
        heapq.heappush(self._events, _Event(at, self._said, rank, what, indices, self.states[rank].life))

    def _join(self, rank: int) -> None:
        state = self.states[rank]
        self._queue.join(state.name, rank=rank, slots=state.replica.slots, batched=state.replica.batched)

    def _end(self, event: _Event) -> None:
        state = self.states[event.rank]
        if event.life != state.life:
            return
        for index in event.indices:
            self._done += self._queue.complete(state.name, index) == "accepted"
        state.held -= len(event.indices)
        state.running -= 1
        self._keep_busy(event.rank, event.at)

    def _lose(self, rank: int, now: float) -> None:
        """Its claims wait again, for those that have room; what it was working on is lost."""
        state = self.states[rank]
        state.there, state.life, state.running, state.held = False, state.life + 1, 0, 0
        state.ready.clear()
        poisoned = len(self._queue.lose(state.name).poisoned)
        self._done += poisoned
        self.poisoned += poisoned
        for other, waiting in enumerate(self.states):
            if waiting.there and waiting.held < waiting.replica.slots:
                self._keep_busy(other, now)

    def _keep_busy(self, rank: int, now: float) -> None:
        """Start what can start, then claim: what fits now, and ahead."""
        state = self.states[rank]
        self._start(rank, now)
        while self._claim(state, now):
            self._start(rank, now)

    def _claim(self, state: _State, now: float) -> bool:
        replica = state.replica
        if replica.batched:
            if len(state.ready) >= (replica.overlap if state.running else 1):
                return False
            limit = replica.slots
        else:
            limit = replica.slots + replica.overlap - state.held
        if limit < 1:
            return False
        indices = self._queue.claim(state.name, limit, idle=not state.held).indices
        if not indices:
            return False
        self.claims += 1
        state.held += len(indices)
        available = now + self._handling
        if replica.batched:
            state.ready.append((available, indices))
        else:
            state.ready.extend((available, (index,)) for index in indices)
        return True

    def _start(self, rank: int, now: float) -> None:
        state = self.states[rank]
        replica = state.replica
        lanes = 1 if replica.batched else replica.slots
        while state.ready and state.running < lanes:
            available, indices = state.ready.popleft()
            seconds = batch_time([self._costs[index] for index in indices], self._batch_sum) / replica.speed
            state.running += 1
            state.busy += seconds / lanes
            self._happens(max(now, available) + seconds, rank, "end", indices)
