"""Who answered what when: lanes per worker, the rate of answers, and how well the time was used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from muster.results.journal_read import read_entries
from muster.results.snapshot import Snapshot

BINS = 240
MOST_LANES = 64
_GONE = {"lost": "was lost", "failed": "failed"}


@dataclass(frozen=True, slots=True)
class Lane:
    """One worker."""

    worker: str
    busy: tuple[float, ...]
    """The share of each bin in which it worked."""
    answered: int
    failed: int
    first: float
    """Seconds after the start of its attempt's first answer."""
    last: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """The attempt that gave most answers."""

    seconds: float
    lanes: tuple[Lane, ...]
    rate: tuple[int, ...]
    """Answers in each bin."""
    attempt: int
    attempts: int
    efficiency: float
    """Time at work over time present, of all workers."""
    troubles: tuple[str, ...] = ()
    """Workers that were lost or started again, as the run itself said of its last attempt."""


def timeline_of(journal: Path, snapshot: Snapshot | None = None) -> Timeline | None:
    """From the times in the journal; None without an answer that says how long it took."""
    spans: dict[int, dict[str, list[tuple[float, float, bool]]]] = defaultdict(lambda: defaultdict(list))
    for entry in read_entries(journal):
        seconds = entry.completion.seconds
        if seconds is not None:
            spans[entry.attempt][entry.worker].append(
                (entry.at - seconds, entry.at, entry.completion.failure is None)
            )
    if not spans:
        return None
    attempt = max(spans, key=lambda number: sum(map(len, spans[number].values())))
    workers = spans[attempt]
    start = min(begin for each in workers.values() for begin, _end, _good in each)
    end = max(finish for each in workers.values() for _begin, finish, _good in each)
    length = max(end - start, 1e-6)
    rate = [0] * BINS
    lanes = []
    at_work = present = 0.0
    for worker, each in sorted(workers.items()):
        merged = _merged(each)
        busy = [0.0] * BINS
        for begin, finish in merged:
            _spread(busy, (begin - start) / length * BINS, (finish - start) / length * BINS)
        for _begin, finish, _good in each:
            rate[min(BINS - 1, int((finish - start) / length * BINS))] += 1
        good = sum(1 for *_, well in each if well)
        lanes.append(
            Lane(worker, tuple(busy), good, len(each) - good, merged[0][0] - start, merged[-1][1] - start)
        )
        at_work += sum(finish - begin for begin, finish in merged)
        present += end - merged[0][0]
    efficiency = min(1.0, at_work / max(present, 1e-6))
    troubles = tuple(_troubles(snapshot)) if snapshot is not None else ()
    return Timeline(length, tuple(lanes), tuple(rate), attempt, max(spans), efficiency, troubles)


def _troubles(snapshot: Snapshot) -> Iterator[str]:
    for worker in snapshot.workers:
        if worker.restarts:
            times = "once" if worker.restarts == 1 else f"{worker.restarts} times"
            yield f"{worker.name} was started again {times}"
        if worker.state in _GONE:
            yield f"{worker.name} {_GONE[worker.state]}"


def _merged(spans: list[tuple[float, float, bool]]) -> list[tuple[float, float]]:
    """Stretches of time, those that overlap as one: a batch's answers share its time."""
    merged: list[tuple[float, float]] = []
    for begin, end, _good in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged


def _spread(busy: list[float], begin: float, end: float) -> None:
    for number in range(max(0, int(begin)), min(BINS, int(end) + 1)):
        busy[number] = min(1.0, busy[number] + max(0.0, min(end, number + 1) - max(begin, number)))
