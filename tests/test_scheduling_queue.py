"""Guards against the ways in which a queue fails a run: hoarding, poisonous samples, late answers, absent ranks."""

from __future__ import annotations

import pytest

from muster.scheduling.queue import Item, WorkQueue


def queue_of(*costs: float, replicas: int = 1, slots: int = 1, batched: bool = False) -> WorkQueue:
    """A dynamic queue that workers w0, w1 … have joined."""
    queue = WorkQueue([Item(cost) for cost in costs], replicas=replicas)
    for rank in range(replicas):
        queue.join(f"w{rank}", rank=rank, slots=slots, batched=batched)
    return queue


def test_the_longest_request_goes_first() -> None:
    queue = queue_of(1, 5, 3)
    assert [queue.claim("w0", 1, idle=True).indices for _ in range(3)] == [(1,), (2,), (0,)]


def test_one_replica_does_not_get_the_eight_longest() -> None:
    """Claims bounded by count gave one of four replicas 800 of 1,040; bounded by cost it gets one long request."""
    queue = queue_of(*[100.0] * 8, *[1.0] * 240, replicas=4, slots=8)
    assert len(queue.claim("w0", 8, idle=True).indices) == 1


def test_a_claim_of_short_requests_fills_the_slots() -> None:
    queue = queue_of(*[1.0] * 1000, replicas=4, slots=8)
    assert len(queue.claim("w0", 64, idle=True).indices) == 8


def test_prefetch_is_withheld_near_the_end_only() -> None:
    """A replica that prefetched the last request while others were idle made the run one request longer."""
    queue = queue_of(*[1.0] * 40, replicas=2)
    queue.claim("w0", 1, idle=True)
    assert queue.claim("w0", 1, idle=False).state == "work"
    while queue.unclaimed > 1:
        queue.complete("w1", queue.claim("w1", 1, idle=True).indices[0])
    assert queue.claim("w0", 1, idle=False).state == "wait"
    assert queue.claim("w1", 1, idle=True).state == "work"
    assert queue.claim("w1", 1, idle=False).state == "empty"


def test_a_worker_that_holds_nothing_is_never_told_to_wait() -> None:
    """It would wait for a completion of its own that never comes."""
    queue = queue_of(100, 1, replicas=16, slots=4, batched=True)
    assert queue.claim("w0", 4, idle=False).indices == (0,)
    assert queue.claim("w0", 4, idle=False).state == "wait"
    assert queue.claim("w1", 4, idle=False).indices == (1,)


def test_free_slots_are_filled_by_the_worker_that_has_least_to_do() -> None:
    """Three equal requests, two replicas with 64 slots: the third starts at once, it doesn't wait for the first."""
    queue = queue_of(1, 1, 1, replicas=2, slots=64)
    queue.claim("w0", 64, idle=True)
    queue.claim("w1", 64, idle=True)
    assert queue.claim("w0", 63, idle=False).state == "work"


def test_batches_are_full_first_and_equal_at_the_end() -> None:
    queue = queue_of(*[1.0] * 40, replicas=4, slots=8, batched=True)
    sizes: list[int] = []
    while queue.unclaimed:
        worker = f"w{len(sizes) % 4}"
        for index in queue.held(worker):
            queue.complete(worker, index)
        sizes.append(len(queue.claim(worker, 8, idle=True).indices))
    assert sizes[:3] == [8, 8, 6]
    assert min(sizes[:-1]) >= 4, sizes
    assert sum(sizes) == 40


def test_a_small_benchmark_is_shared_out_among_all_batched_replicas() -> None:
    """Eight requests, four replicas with batches of 32: one replica must not take them all."""
    queue = queue_of(*[1.0] * 8, replicas=4, slots=32, batched=True)
    assert [len(queue.claim(f"w{rank}", 32, idle=True).indices) for rank in range(4)] == [2, 2, 2, 2]


def test_a_static_batch_never_mixes_keys() -> None:
    queue = WorkQueue([Item(float(100 - i), batch_key=i % 2) for i in range(20)], replicas=1)
    queue.join("w0", rank=0, slots=4, batched=True)
    assert queue.claim("w0", 4, idle=True).indices == (0, 2, 4, 6)
    assert queue.claim("w0", 4, idle=True).indices == (1, 3, 5, 7)


def test_returned_requests_come_first_again_whichever_line_they_were_taken_from() -> None:
    """Batched workers take from the line of one key, others from the line of all: both must see returns."""
    queue = WorkQueue([Item(float(100 - i), batch_key=i % 2) for i in range(8)], replicas=2)
    queue.join("batch", rank=0, slots=4, batched=True)
    queue.join("single", rank=1, slots=1, batched=False)
    assert queue.claim("batch", 4, idle=True).indices == (0, 2, 4)
    assert queue.lose("batch").requeued == (0, 2, 4)
    assert [queue.claim("single", 1, idle=True).indices for _ in range(3)] == [(0,), (1,), (2,)]


def test_work_of_a_lost_worker_is_done_by_another_and_late_answers_are_harmless() -> None:
    queue = queue_of(3, 2, replicas=2)
    assert queue.claim("w0", 1, idle=True).indices == (0,)
    assert queue.lose("w0").requeued == (0,)
    assert queue.claim("w1", 1, idle=True).indices == (0,)
    assert queue.complete("w0", 0) == "accepted", "the first answer wins, even from a worker given up"
    assert queue.held("w1") == ()
    assert queue.complete("w1", 0) == "duplicate"
    assert queue.done == 1


def test_a_late_answer_takes_a_waiting_request_out_of_the_queue() -> None:
    queue = queue_of(3, 2, replicas=2)
    queue.claim("w0", 1, idle=True)
    queue.lose("w0")
    assert queue.complete("w0", 0) == "accepted"
    assert queue.claim("w1", 2, idle=True).indices == (1,)
    assert queue.complete("w1", 1) == "accepted"
    assert queue.claim("w1", 1, idle=True).state == "finished"


def kill_with(queue: WorkQueue, worker: str, index: int) -> None:
    """Let a fresh worker claim until it holds the request, then lose it."""
    queue.join(worker, rank=9, slots=1, batched=False)
    while index not in queue.held(worker):
        assert queue.claim(worker, 1, idle=True).indices
    queue.lose(worker)


def test_a_poisonous_request_is_run_alone_after_two_deaths_and_given_up_after_three() -> None:
    """One sample that kills every replica must not take its neighbours with it, nor the run."""
    queue = queue_of(9, 8, *[1.0] * 50, slots=4)
    kill_with(queue, "first", 0)
    kill_with(queue, "second", 0)
    queue.join("third", rank=9, slots=4, batched=False)
    assert queue.claim("third", 4, idle=True).indices == (0,)
    assert queue.claim("third", 4, idle=False).state == "wait", "nothing beside it"
    assert queue.claim("third", 4, idle=True).state == "empty", "nor for a plain iterator"
    loss = queue.lose("third")
    assert (loss.poisoned, loss.requeued) == ((0,), ())
    assert queue.done == 1
    assert queue.complete("third", 0) == "duplicate", "it was reported as failed"


def test_a_suspect_that_is_given_back_is_still_a_suspect() -> None:
    queue = queue_of(9, *[1.0] * 20, slots=4)
    kill_with(queue, "first", 0)
    kill_with(queue, "second", 0)
    assert queue.claim("w0", 4, idle=True).indices == (0,)
    queue.release("w0", [0])
    assert queue.claim("w0", 4, idle=True).indices == (0,)


def test_a_late_answer_clears_a_suspect() -> None:
    queue = queue_of(9, 1)
    kill_with(queue, "first", 0)
    kill_with(queue, "second", 0)
    assert queue.complete("first", 0) == "accepted"
    assert queue.claim("w0", 4, idle=True).indices == (1,)


def test_one_prefetching_worker_runs_dry_for_a_suspect() -> None:
    """Where everybody always holds something, nobody could ever take it alone before the end of the run."""
    queue = queue_of(9, *[1.0] * 200, replicas=2, slots=4)
    for worker in ("w0", "w1"):  # both are busy when the suspect comes back
        assert queue.claim(worker, 4, idle=True).indices
    for worker in ("x", "y"):
        queue.join(worker, rank=9, slots=1, batched=False)
    suspect = queue.held("w0")[0]
    queue.release("w0", [suspect])
    kill_with(queue, "x", suspect)
    kill_with(queue, "y", suspect)
    queue.claim("w0", 1, idle=True)
    assert queue.claim("w1", 1, idle=False).state == "wait"
    assert queue.claim("w0", 1, idle=False).state == "work"
    for index in queue.held("w1"):
        queue.complete("w1", index)
    assert queue.claim("w1", 4, idle=True).indices == (suspect,)


def test_another_worker_runs_dry_when_the_one_that_did_is_lost() -> None:
    queue = queue_of(9, *[1.0] * 400, replicas=2, slots=4)
    kill_with(queue, "x", 0)
    for worker in ("w0", "w1"):
        queue.claim(worker, 4, idle=True)
        queue.release(worker, [0])
    kill_with(queue, "y", 0)
    assert queue.held("w0")
    assert queue.held("w1")
    assert queue.claim("w0", 1, idle=False).state == "wait"
    assert queue.claim("w1", 1, idle=False).state == "work"
    queue.lose("w0")
    assert queue.claim("w1", 1, idle=False).state == "wait"


def test_a_worker_that_changes_its_rank_leaves_its_share_to_all() -> None:
    """Its first share belonged to nobody then, and the run never ended."""
    queue = WorkQueue([Item(1.0)] * 2, schedule="contiguous", replicas=2)
    queue.join("w0", rank=0, slots=1, batched=False)
    queue.join("w0", rank=1, slots=1, batched=False)
    assert [queue.claim("w0", 1, idle=True).indices for _ in range(2)] == [(1,), (0,)]


def test_an_orderly_end_is_no_death() -> None:
    queue = queue_of(1)
    for attempt in range(5):
        worker = f"attempt {attempt}"
        queue.join(worker, rank=0, slots=1, batched=False)
        assert queue.claim(worker, 1, idle=True).indices == (0,)
        assert queue.leave(worker).requeued == (0,)
    assert queue.unclaimed == 1


def test_the_share_of_a_lost_rank_is_done_by_whoever_is_idle() -> None:
    """Static schedules: what a dead rank had left is neither lost nor waited for."""
    queue = WorkQueue([Item(1.0)] * 6, schedule="contiguous", replicas=2)
    for rank in (0, 1):
        queue.join(f"w{rank}", rank=rank, slots=1, batched=False)
    assert queue.claim("w0", 1, idle=True).indices == (0,)
    queue.lose("w0")
    done: list[int] = []
    while (claim := queue.claim("w1", 1, idle=True)).indices:
        done.extend(claim.indices)
        queue.complete("w1", claim.indices[0])
    assert done == [3, 4, 5, 0, 1, 2]
    assert claim.state == "finished"


def test_the_share_of_a_rank_that_never_came_is_given_out_once_it_is_forgotten() -> None:
    queue = WorkQueue([Item(1.0)] * 4, schedule="strided", replicas=2)
    queue.join("w0", rank=0, slots=4, batched=False)
    assert queue.claim("w0", 4, idle=True).indices == (0, 2)
    assert queue.claim("w0", 4, idle=True).state == "empty"
    queue.forget_absent()
    assert queue.claim("w0", 4, idle=True).indices == (1, 3)


def test_remaining_cost_does_not_drift() -> None:
    """0.1 added and taken away ten thousand times leaves a rest in floating point; here it leaves none."""
    queue = queue_of(*[0.1, 1e-7, 3.3] * 3000)
    assert queue.remaining_cost == pytest.approx(3000 * 3.4000001, rel=1e-9)
    for _ in range(100):
        queue.claim("w0", 1, idle=True)
        queue.release("w0", queue.held("w0"))
    while claim := queue.claim("w0", 1, idle=True).indices:
        queue.complete("w0", claim[0])
    assert queue.remaining_cost == 0.0


@pytest.mark.parametrize("cost", [0.0, 5e-324, 1e-300, 1e308])
def test_extreme_costs_are_counted(cost: float) -> None:
    queue = queue_of(cost, cost)
    assert len({queue.claim("w0", 1, idle=True).indices for _ in range(2)}) == 2


@pytest.mark.parametrize("cost", [-1.0, float("nan"), float("inf")])
def test_impossible_costs_are_refused(cost: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        queue_of(cost)


def test_misuse_is_refused() -> None:
    queue = queue_of(1)
    with pytest.raises(ValueError, match="must join"):
        queue.claim("stranger", 1, idle=True)
    with pytest.raises(ValueError, match="at least 1"):
        queue.claim("w0", 0, idle=True)
    with pytest.raises(IndexError):
        queue.complete("w0", -1)
    with pytest.raises(IndexError):
        queue.complete("w0", 1)
    assert queue.lose("stranger").requeued == ()


def test_an_empty_queue_is_finished() -> None:
    queue = queue_of()
    assert queue.finished
    assert queue.claim("w0", 1, idle=True).state == "finished"
