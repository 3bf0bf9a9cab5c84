"""Who gets work, and who doesn't: the coordinator without sockets or processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from muster.config import load_config
from muster.coordinator.coordinator import Coordinator
from muster.coordinator.progress import Progress, TaskProgress
from muster.coordinator.workload import Workload
from muster.core import Completion
from muster.core.encoded import Encoded
from muster.planning import plan
from muster.results.journal import Record
from muster.scheduling.queue import WorkQueue
from processes import write_benchmark


class Records(list[Record]):
    """Implements `RecordSink` in memory."""

    def append_answer(self, answer: Encoded, worker: str, at: float, attempt: int) -> None:
        """Keep it."""
        self.append(Record(answer.completion, worker, at, attempt))


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    task = write_benchmark(tmp_path, 4)
    planned = plan(load_config({"model": "demo", "tasks": str(task)}, env={}))
    workload = Workload(planned)
    coordinator = Coordinator(
        workload,
        WorkQueue(workload.items, replicas=2),
        Records(),
        Progress([TaskProgress("echo", 4)]),
        attempt=1,
        worker_timeout=10,
        request_timeout=10,
        load_timeout=10,
    )
    for rank in range(2):
        coordinator.join(f"worker-{rank}", rank, "here", 1, now=0)
        coordinator.ready(f"worker-{rank}", 4, True, 0.0, now=0)
    return coordinator


def test_a_stuck_worker_gets_no_more_work_until_it_answers(coordinator: Coordinator) -> None:
    """Its prefetching thread still pulls and its heart still beats: three rounds of that poisoned every sample."""
    claimed = coordinator.pull("worker-0", 4, idle=True, now=0).requests
    assert claimed
    coordinator.seen("worker-0", now=11)
    coordinator.seen("worker-1", now=11)
    (verdict,) = coordinator.check(now=12)
    coordinator.lose(verdict.worker, verdict.reason, now=12)
    coordinator.seen("worker-0", now=13)
    assert coordinator.pull("worker-0", 4, idle=True, now=13) == ([], "wait")
    index, request = claimed[0]
    coordinator.answer("worker-0", [(index, Encoded.of(Completion(request.key, "late")))], now=14)
    assert coordinator.pull("worker-0", 4, idle=True, now=14).requests


def test_a_silent_worker_is_not_brought_back_by_the_coordinators_own_retries(
    coordinator: Coordinator,
) -> None:
    coordinator.lose("worker-0", "silent for 10 s", now=10)
    assert coordinator.pull("worker-0", 4, idle=True, now=10) == ([], "wait")
    assert coordinator.workers["worker-0"].state == "lost"


def test_retrying_a_waiting_pull_is_no_sign_of_life(coordinator: Coordinator) -> None:
    coordinator.pull("worker-0", 4, idle=True, now=9)
    assert [verdict.worker for verdict in coordinator.check(now=11)] == ["worker-0", "worker-1"]


def test_a_silent_worker_is_back_with_its_first_word(coordinator: Coordinator) -> None:
    coordinator.lose("worker-0", "silent for 10 s", now=10)
    coordinator.seen("worker-0", now=12)
    assert coordinator.workers["worker-0"].state == "working"
    assert coordinator.pull("worker-0", 4, idle=True, now=12).requests


def test_cut_connections_of_a_living_worker_condemn_nothing(coordinator: Coordinator) -> None:
    """What is in flight while the network flickers is not what kills workers."""
    for _ in range(5):
        claimed = coordinator.pull("worker-0", 4, idle=True, now=0).requests
        assert claimed
        coordinator.lose("worker-0", "its connection ended", now=0)
        coordinator.join("worker-0", 0, "here", 1, now=0)
        coordinator.undo_loss("worker-0")
        coordinator.ready("worker-0", 4, True, 0.0, now=0)
    assert coordinator.progress.errored == 0


@pytest.mark.parametrize(("index", "of"), [(0, 1), (1, 0), (-1, 3), (99, 0)])
def test_a_completion_of_another_request_is_refused_whole(
    coordinator: Coordinator, index: int, of: int
) -> None:
    """A faulty worker's numbers cost two samples, and the folder couldn't be resumed: its journal had a strange key."""
    granted = dict(coordinator.pull("worker-0", 4, idle=True, now=0).requests)
    granted |= dict(coordinator.pull("worker-1", 4, idle=True, now=0).requests)
    good = next(number for number in granted if number not in (index, of))
    key = coordinator.workload.key(of)
    with pytest.raises((ValueError, IndexError)):
        coordinator.answer(
            "worker-0",
            [
                (good, Encoded.of(Completion(granted[good].key, "text"))),
                (index, Encoded.of(Completion(key, "text"))),
            ],
            now=1,
        )
    assert coordinator.workers["worker-0"].answered == 0
