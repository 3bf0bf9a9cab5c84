"""Who answered what when: lanes per worker, the rate of answers, and how well the time was used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from muster.results.journal_read import read_entries
from muster.results.snapshot import Snapshot

BINS = 240
MOST_LANES = 64
OWN_COLOURS = 3
"""Tasks with a colour of their own, those that took most time; the others share one."""
_TAIL_SHARE = 0.02
_FEWEST_OF_A_TAIL = 100
"""Answers below which the last 2 % are one or two, and show nothing."""
_LAST_MOMENT = 1e12
"""Unix seconds from which on a time is none, and differences of times lose their digits."""
_GONE = {"lost": "was lost", "failed": "failed"}


class Work(NamedTuple):
    """One answer."""

    begin: float
    """Unix seconds."""
    end: float
    good: bool
    task: str
    sample: tuple[str, int]


class Stretch(NamedTuple):
    """Time at work without a pause, on one task."""

    begin: float
    end: float
    task: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One worker."""

    worker: str
    busy: tuple[Mapping[str, float], ...]
    """For each bin the tasks that it worked on, each with its share of the bin; empty from the 65th lane on."""
    answered: int
    failed: int
    first: float
    """Seconds after the beginning of the window at which it was first at work."""
    last: float
    restarts: int = 0
    gone: bool = False
    """Whether it was lost, or gave up."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a run."""

    begin: float
    """Seconds after the attempt's first work."""
    seconds: float
    lanes: tuple[Lane, ...]
    rate: tuple[int, ...]
    """Answers in each bin."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The attempt that gave most answers."""

    whole: Window
    tail: Window | None
    """From the moment when 2 % of the answers were missing; None for few answers."""
    tasks: tuple[str, ...]
    """Those that took most time first."""
    attempt: int
    attempts: int
    efficiency: float
    """Time at work over time present, of all workers."""
    static_seconds: float | None
    """About when the last of as many equal shares as there are workers would have ended: the samples dealt out in turn,
    every n-th to a worker, each with the time that it took in this run, from when that worker began; None for one."""
    troubles: tuple[str, ...] = ()
    """Workers that were lost or started again, as the run itself said of its last attempt."""


def timeline_of(journal: Path, snapshot: Snapshot | None = None) -> Timeline | None:
    """From the times in the journal; None without an answer that says how long it took."""
    attempts: dict[int, dict[str, list[Work]]] = defaultdict(lambda: defaultdict(list))
    for entry in read_entries(journal):
        done = entry.completion
        if done.seconds is not None and done.seconds >= 0 and abs(entry.at) < _LAST_MOMENT:
            sample = (done.key.sample_id, done.key.repeat)
            work = Work(entry.at - done.seconds, entry.at, done.failure is None, done.key.task, sample)
            attempts[entry.attempt][entry.worker].append(work)
    if not attempts:
        return None
    attempt = max(attempts, key=lambda number: sum(map(len, attempts[number].values())))
    workers = dict(sorted(attempts[attempt].items()))
    stretches = {worker: _stretches(each) for worker, each in workers.items()}
    took: dict[str, float] = defaultdict(float)
    for each in stretches.values():
        for stretch in each:
            took[stretch.task] += stretch.end - stretch.begin
    start = min(each[0].begin for each in stretches.values())
    ends = sorted(work.end for each in workers.values() for work in each)
    present = sum(ends[-1] - each[0].begin for each in stretches.values())
    left_over = int(len(ends) * _TAIL_SHARE)
    return Timeline(
        _window(workers, stretches, start, start, ends[-1], snapshot),
        _window(workers, stretches, start, ends[-1 - left_over], ends[-1], snapshot)
        if len(ends) >= _FEWEST_OF_A_TAIL
        else None,
        tuple(sorted(took, key=lambda task: -took[task])),
        attempt,
        max(attempts),
        min(1.0, sum(took.values()) / max(present, 1e-6)),
        _static_seconds(workers, start),
        tuple(_troubles(snapshot)) if snapshot is not None else (),
    )


def _window(
    workers: Mapping[str, Sequence[Work]],
    stretches: Mapping[str, Sequence[Stretch]],
    start: float,
    begin: float,
    end: float,
    snapshot: Snapshot | None,
) -> Window:
    length = max(end - begin, 1e-6)
    known = {} if snapshot is None else {each.name: each for each in snapshot.workers}
    rate = [0] * BINS

    def place(at: float) -> float:
        return (at - begin) / length * BINS

    lanes: list[Lane] = []
    for worker, done in workers.items():
        shown = len(lanes) < MOST_LANES  # of thousands of workers, the others would fill the memory
        busy: list[dict[str, float]] = [{} for _ in range(BINS)] if shown else []
        for stretch in stretches[worker] if shown else ():
            _spread(busy, place(stretch.begin), place(stretch.end), stretch.task)
        within = [work for work in done if work.end >= begin]
        for work in within:
            rate[min(BINS - 1, int(place(work.end)))] += 1
        good = sum(work.good for work in within)
        state = known.get(worker)
        lanes.append(
            Lane(
                worker,
                tuple(busy),
                good,
                len(within) - good,
                max(0.0, stretches[worker][0].begin - begin),
                max(0.0, stretches[worker][-1].end - begin),
                restarts=state.restarts if state else 0,
                gone=state is not None and state.state in _GONE,
            )
        )
    return Window(begin - start, length, tuple(lanes), tuple(rate))


def _troubles(snapshot: Snapshot) -> Iterator[str]:
    for worker in snapshot.workers:
        if worker.restarts:
            times = "once" if worker.restarts == 1 else f"{worker.restarts} times"
            yield f"{worker.name} was started again {times}"
        if worker.state in _GONE:
            yield f"{worker.name} {_GONE[worker.state]}"


def _stretches(done: list[Work]) -> list[Stretch]:
    """A worker's time at work, each moment once: a batch's answers share its time, which is the first one's task's."""
    found: list[Stretch] = []
    covered = float("-inf")
    for work in sorted(done):
        begin = max(work.begin, covered)
        if found and begin == covered and found[-1].task == work.task:
            found[-1] = found[-1]._replace(end=max(covered, work.end))
        elif work.end > begin or not found:
            found.append(Stretch(begin, max(begin, work.end), work.task))
        covered = max(covered, work.end)
    return found


def _static_seconds(workers: Mapping[str, Sequence[Work]], start: float) -> float | None:
    if len(workers) < 2:
        return None
    took: dict[tuple[str, str, int], float] = {}
    begins = []
    for done in workers.values():
        begin, end = min(work.begin for work in done), max(work.end for work in done)
        # Batches make a worker's answers take less than they say, pauses between them more.
        pace = (end - begin) / max(sum(work.end - work.begin for work in done), 1e-9)
        took |= {(work.task, *work.sample): (work.end - work.begin) * pace for work in done}
        begins.append(begin - start)
    shares = [0.0] * len(workers)
    for number, (_, seconds) in enumerate(sorted(took.items())):
        shares[number % len(shares)] += seconds
    return max(begin + share for begin, share in zip(begins, shares, strict=True))


def _spread(busy: list[dict[str, float]], begin: float, end: float, task: str) -> None:
    for number in range(max(0, int(begin)), min(BINS, int(end) + 1)):
        share = max(0.0, min(end, number + 1) - max(begin, number))
        if share > 0:
            busy[number][task] = min(1.0, busy[number].get(task, 0.0) + share)
