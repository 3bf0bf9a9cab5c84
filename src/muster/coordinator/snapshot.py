"""From a run's counts to what is shown of it: rates, time left, stragglers. Pure."""

from __future__ import annotations

import statistics

from muster.coordinator.progress import Progress, TaskProgress, WorkerProgress
from muster.coordinator.rate import WINDOW_S
from muster.results.snapshot import Snapshot, Straggler, TaskSnapshot, WorkerSnapshot

ENOUGH = 10
"""Answers within the last minute from which on they alone say how fast the run is."""
STRAGGLING_S = 10.0
STRAGGLING = 3.0
"""A request straggles when it has taken so many seconds, and so many times what is usual."""
MOST_STRAGGLERS = 5
SLOW = 0.5
"""Of the median replica's rate."""


def snapshot_of(progress: Progress, now: float, at: float, attempt: int) -> Snapshot:
    """`now` of the coordinator's clock and `at` in unix seconds are the same moment."""
    workers = dict(progress.workers)  # other threads add to it
    usual = _usual(progress)
    slow = _slow(workers, now)
    return Snapshot(
        at=at,
        attempt=attempt,
        tasks=[_task(task) for task in progress.tasks],
        workers=[_worker(name, state, progress, now, name in slow) for name, state in workers.items()],
        done=progress.done,
        total=progress.total,
        errored=progress.errored,
        rate=_rate(progress, now)[0],
        tokens=progress.tokens,
        time_left=_time_left(progress, workers, now),
        stragglers=_stragglers(workers, progress, usual, now),
        notice=progress.notice,
        notes=dict(progress.notes),
    )


def _task(task: TaskProgress) -> TaskSnapshot:
    return TaskSnapshot(
        name=task.name,
        total=task.total,
        done=task.done,
        errored=task.errored,
        kept_back=task.kept_back,
        score_name=task.shown_score,
        score=task.score.mean,
        ci95=task.score.ci95,
        scored=task.score.count,
    )


def _worker(name: str, state: WorkerProgress, progress: Progress, now: float, slow: bool) -> WorkerSnapshot:
    oldest = state.oldest
    return WorkerSnapshot(
        name=name,
        host=state.host,
        state=state.state,
        joined=state.joined,
        restarts=state.restarts,
        answered=state.answered,
        rate=0.0 if state.ready_at is None else state.rate.per_second(now, state.ready_at),
        holding=state.holding,
        sample="" if oldest is None else str(progress.key_of(oldest)),
        waiting_s=None if oldest is None else max(0.0, now - state.progressed),
        slow=slow,
    )


def _rate(progress: Progress, now: float) -> tuple[float, float]:
    """Answers and cost per second: of the last minute, else since the first worker was ready, to the last answer."""
    if progress.ready_at is None or not progress.answered:
        return 0.0, 0.0
    count, cost = progress.rate.recent(now)
    if count >= ENOUGH and progress.done < progress.total:
        seconds = min(float(WINDOW_S), now - progress.ready_at)
        return (count / seconds, cost / seconds) if seconds > 0 else (0.0, 0.0)
    seconds = progress.answered_at - progress.ready_at
    if seconds <= 0:
        return 0.0, 0.0
    rate = progress.answered / seconds
    return rate, rate * (cost / count if count else 1.0)


def _time_left(progress: Progress, workers: dict[str, WorkerProgress], now: float) -> float | None:
    """What is left at the speed so far, but not less than the longest request in flight takes the one who has it.

    Near the end most replicas are idle, and one long answer decides when the run is over.
    """
    rate, cost_rate = _rate(progress, now)
    left = progress.total - progress.done
    if not rate or left <= 0:
        return None
    if not cost_rate:
        return left / rate
    working = [state for state in workers.values() if state.state == "working"]
    slots = sum(min(state.slots, max(1, state.holding)) for state in working)
    longest = max(
        (progress.cost_of(state.oldest) for state in working if state.oldest is not None), default=0.0
    )
    tail = longest / (cost_rate / slots) if slots else 0.0
    return max(max(0.0, progress.cost_left) / cost_rate, tail)


def _usual(progress: Progress) -> float | None:
    """What 95 % of the last answers took at most (seconds); None before there are enough."""
    seconds = sorted(progress.seconds.copy())
    return seconds[int(0.95 * (len(seconds) - 1))] if len(seconds) >= ENOUGH else None


def _stragglers(
    workers: dict[str, WorkerProgress], progress: Progress, usual: float | None, now: float
) -> list[Straggler]:
    if usual is None:
        return []
    found = [
        Straggler(name, str(progress.key_of(state.oldest)), now - state.progressed, usual)
        for name, state in workers.items()
        if state.state == "working"
        and state.oldest is not None
        and now - state.progressed > max(STRAGGLING_S, STRAGGLING * usual)
    ]
    return sorted(found, key=lambda straggler: -straggler.seconds)[:MOST_STRAGGLERS]


def _slow(workers: dict[str, WorkerProgress], now: float) -> set[str]:
    """Replicas that work for a minute and are less than half as fast as the median of at least three."""
    rates = {
        name: state.rate.per_second(now, state.ready_at)
        for name, state in workers.items()
        if state.state == "working" and state.ready_at is not None and now - state.ready_at >= WINDOW_S
    }
    if len(rates) < 3:
        return set()
    median = statistics.median(rates.values())
    return {name for name, rate in rates.items() if rate < SLOW * median and median * WINDOW_S >= ENOUGH}
