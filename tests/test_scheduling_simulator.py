"""Guards balance itself: each case is one in which a tool of today leaves devices idle. Simulated time only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.core.choices import Schedule
from muster.scheduling.schedules import SCHEDULES
from muster.scheduling.simulator import Replica, batch_time, lower_bound, simulate


def heavy_tail(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log-normal costs (sigma 1.2), and predictions that are off by up to half."""
    random = np.random.default_rng(seed)
    costs = random.lognormal(0, 1.2, count)
    return costs, costs * random.uniform(0.5, 1.5, count)


def cluster(
    count: int, *, slow: int = 0, slots: int = 1, batched: bool = False, overlap: int = 0
) -> list[Replica]:
    """Replicas, the last `slow` of them at 0.6."""
    speeds = [1.0] * (count - slow) + [0.6] * slow
    return [Replica(speed, slots, batched, overlap) for speed in speeds]


@pytest.mark.parametrize("overlap", [0, 1])
@pytest.mark.parametrize(
    ("replicas", "slow", "count"), [(4, 1, 2000), (16, 1, 5000), (64, 1, 5000), (256, 25, 50_000)]
)
def test_dynamic_reaches_the_bound(replicas: int, slow: int, count: int, overlap: int) -> None:
    costs, predicted = heavy_tail(count)
    assert simulate(costs, predicted, cluster(replicas, slow=slow, overlap=overlap)).efficiency >= 0.97


def test_static_schedules_do_not() -> None:
    """So the case is one where the schedule matters."""
    costs, predicted = heavy_tail(5000)
    for schedule in SCHEDULES[1:]:
        assert simulate(costs, predicted, cluster(64, slow=1), schedule).efficiency < 0.8


def test_replicas_with_many_slots_are_balanced_too() -> None:
    costs, predicted = heavy_tail(20_000)
    run = simulate(costs, predicted, cluster(16, slow=1, slots=8, overlap=8))
    assert run.efficiency >= 0.97
    assert run.claims <= 20_000


@pytest.mark.parametrize("batch_sum", [0.0, 0.15, 1.0])
@pytest.mark.parametrize("overlap", [0, 1])
def test_batched_replicas_are_balanced_whatever_a_batch_costs(batch_sum: float, overlap: int) -> None:
    """With known costs; a rule for one extreme only (full batches, or equal cost) drops to 0.5 in the other."""
    costs, _ = heavy_tail(16 * 8 * 30)
    run = simulate(costs, costs, cluster(16, slots=8, batched=True, overlap=overlap), batch_sum=batch_sum)
    assert run.efficiency >= 0.9


@given(
    costs=st.lists(st.floats(0, 100), max_size=60),
    replicas=st.integers(1, 6),
    slots=st.integers(1, 5),
    batched=st.booleans(),
    overlap=st.integers(0, 3),
    schedule=st.sampled_from(SCHEDULES),
    batch_sum=st.floats(0, 1),
)
@settings(deadline=None, max_examples=200)
def test_every_run_ends_and_none_beats_the_bound(
    costs: list[float],
    replicas: int,
    slots: int,
    batched: bool,
    overlap: int,
    schedule: Schedule,
    batch_sum: float,
) -> None:
    """A deadlock (a worker told to wait for ever) shows as a run that ends with work left over."""
    machines = cluster(replicas, slow=1, slots=slots, batched=batched, overlap=overlap)
    run = simulate(costs, costs, machines, schedule, batch_sum=batch_sum, handling=0.5)
    assert run.makespan >= run.bound * (1 - 1e-9)
    assert len(run.busy) == replicas
    assert max(run.busy) <= run.makespan * (1 + 1e-9)


def test_prefetch_hides_the_handling_of_claims() -> None:
    costs = [1.0] * 400
    plain = simulate(costs, costs, cluster(4), handling=0.5)
    ahead = simulate(costs, costs, cluster(4, overlap=1), handling=0.5)
    assert plain.makespan == pytest.approx(150)
    assert ahead.makespan < 105


def test_the_bound_is_right() -> None:
    assert lower_bound(np.array([4.0, 1, 1]), [Replica(), Replica()]) == 4
    assert lower_bound(np.array([2.0, 2, 2]), [Replica(), Replica(0.5)]) == 4
    assert lower_bound(np.array([1.0, 3, 3, 1]), [Replica(slots=2, batched=True)]) == 4
    assert batch_time([3.0, 1, 1], 0) == 3
    assert batch_time([3.0, 1, 1], 1) == 5
    assert simulate([], [], [Replica()]).efficiency == 1


def test_what_a_lost_replica_held_is_done_by_the_others_and_the_bound_knows_when_it_was_away() -> None:
    """Without the wake-up of those that had nothing to do, a loss near the end left its work over."""
    costs = [10.0, 10.0, 1.0]
    replicas = [Replica(away=((5.0, 100.0),)), Replica()]
    run = simulate(costs, costs, replicas)
    assert run.makespan == 21.0  # all by the other one
    assert run.bound == pytest.approx(16.0)  # five with both, then eleven alone
    assert run.poisoned == 0


def test_a_replica_that_comes_late_takes_its_part() -> None:
    run = simulate([1.0] * 40, [1.0] * 40, [Replica(), Replica(away=((0.0, 10.0),))])
    assert run.makespan == run.bound == 25.0


def test_a_request_that_three_replicas_were_lost_with_is_given_up_and_told() -> None:
    away = tuple((float(at), at + 0.5) for at in (5, 10, 15))
    run = simulate([8.0], [8.0], [Replica(away=away)])
    assert (run.poisoned, run.makespan) == (1, 15.0)


@given(
    costs=st.lists(st.floats(0.1, 20), min_size=1, max_size=40),
    begins=st.lists(st.floats(0.1, 60), max_size=2),
    late=st.floats(0, 30),
)
@settings(deadline=None, max_examples=100)
def test_every_run_ends_whatever_is_lost_and_none_beats_the_bound(
    costs: list[float], begins: list[float], late: float
) -> None:
    away: list[tuple[float, float]] = []
    for begin in sorted(begins):
        if not away or begin > away[-1][1]:
            away.append((begin, begin + 3.0))
    replicas = [Replica(), Replica(0.5, away=((0.0, late),) if late else ()), Replica(away=tuple(away))]
    run = simulate(costs, costs, replicas)
    assert run.makespan >= run.bound * (1 - 1e-9)
    assert run.poisoned == 0  # that takes three losses
