"""Guards against shares that overlap, leave a gap, or differ from what the reference tools compute."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.core import Media
from muster.core.choices import Schedule
from muster.scheduling.cost import predict
from muster.scheduling.queue import Item, WorkQueue
from muster.scheduling.schedules import (
    ABOUT_AS_MUCH,
    contiguous_share,
    longest_first,
    strided_share,
)
from tiny_requests import ask


def internvl_local_indices(total_size: int, world_size: int, rank: int) -> range:
    """InferenceSampler._get_local_indices of InternVL's evaluation scripts, word for word."""
    shard_size = total_size // world_size
    left = total_size % world_size
    shard_sizes = [shard_size + int(r < left) for r in range(world_size)]
    begin = sum(shard_sizes[:rank])
    end = min(sum(shard_sizes[: rank + 1]), total_size)
    return range(begin, end)


@given(total=st.integers(0, 300), world_size=st.integers(1, 40))
def test_static_shares_are_the_reference_tools(total: int, world_size: int) -> None:
    for rank in range(world_size):
        assert contiguous_share(total, world_size, rank) == internvl_local_indices(total, world_size, rank)
        assert list(strided_share(total, world_size, rank)) == list(range(total))[rank::world_size]


@given(
    total=st.integers(0, 80),
    replicas=st.integers(1, 9),
    schedule=st.sampled_from(("contiguous", "strided")),
    slots=st.integers(1, 7),
)
def test_each_rank_is_served_its_share_in_the_original_order(
    total: int, replicas: int, schedule: Schedule, slots: int
) -> None:
    queue = WorkQueue([Item(float(total - i)) for i in range(total)], schedule=schedule, replicas=replicas)
    share = contiguous_share if schedule == "contiguous" else strided_share
    for rank in range(replicas):
        queue.join(f"worker {rank}", rank=rank, slots=slots, batched=False)
    for rank in range(replicas):
        got: list[int] = []
        while (claim := queue.claim(f"worker {rank}", slots, idle=True)).indices:
            got.extend(claim.indices)
        assert got == list(share(total, replicas, rank))


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(("", "x", "y", "z")))))
def test_longest_first_keeps_equal_costs_with_shared_media_together(rows: list[tuple[int, str]]) -> None:
    costs, media = np.array([float(cost) for cost, _ in rows]), [identity for _, identity in rows]
    order = longest_first(costs, media).tolist()
    assert sorted(order) == list(range(len(rows)))
    assert all(costs[a] >= costs[b] for a, b in pairwise(order))
    for cost in range(6):
        of_cost = [rows[index][1] or f"alone {index}" for index in order if rows[index][0] == cost]
        changes = sum(a != b for a, b in pairwise(of_cost))
        assert changes == max(len(set(of_cost)) - 1, 0)


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.sampled_from(("", "x", "y", "z")))),
)
def test_nothing_goes_before_what_is_clearly_longer(rows: list[tuple[float, str]]) -> None:
    costs = np.array([cost for cost, _ in rows])
    order = longest_first(costs, [identity for _, identity in rows]).tolist()
    assert sorted(order) == list(range(len(rows)))
    longest_behind = 0.0
    for index in reversed(order):
        longest_behind = max(longest_behind, costs[index])
        assert costs[index] >= ABOUT_AS_MUCH * longest_behind


@pytest.mark.parametrize("slots", [3, 8])
def test_questions_about_one_image_go_together_in_small_claims_too(slots: int) -> None:
    """Six questions for each of forty images, as POPE has them: they differ by a word."""
    words = ("a dog", "a person", "a dining table", "a traffic light", "a car", "a hot dog")
    items = []
    for number in range(240):
        question = f"Is there {words[number // 40]} in the image?"
        request = ask(f"{number}", question, [Media("image", path=f"/{number % 40}.jpg")])
        items.append(Item(predict(request), media=request.media[0].identity))
    queue = WorkQueue(items, replicas=3)
    seen: dict[str, set[str]] = {}
    workers = [f"worker {number}" for number in range(3)]
    for number, worker in enumerate(workers):
        queue.join(worker, rank=number, slots=slots, batched=False)
    while not queue.finished:
        for worker in workers:
            claim = queue.claim(worker, slots, idle=True)
            for index in claim.indices:
                seen.setdefault(items[index].media, set()).add(worker)
                queue.complete(worker, index)
    # A claim's end cuts a group in two. In no order each image would go to nearly all three.
    assert sum(len(workers) for workers in seen.values()) <= 2 * 40 + 10  # the last claims are smaller


def test_unknown_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match="dynamic, contiguous, strided"):
        WorkQueue([], schedule="random", replicas=1)  # type: ignore[arg-type]
