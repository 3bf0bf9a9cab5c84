"""The benchmarks against other tools: what they are compared with must be played right, or Muster only looks good."""

from __future__ import annotations

import contextlib
import io
from unittest.mock import patch

import numpy as np
import pytest

from benchmarks.peers import connections, makespan, partitions
from benchmarks.peers.suite import SUITE, draw
from muster.scheduling.simulator import Replica, lower_bound

ONES = np.ones(12)


def test_shares_are_those_of_the_tools() -> None:
    slow = [Replica(), Replica(0.5), Replica()]
    assert partitions.contiguous(ONES, slow) == 8.0
    assert partitions.strided(ONES, slow) == 8.0
    first, last = np.array([9.0, 1, 1, 1]), np.array([1.0, 1, 1, 9])
    both = np.concatenate([first, last])
    assert partitions.strided(both, [Replica()] * 4) == 10.0
    assert partitions.barriers(both, np.repeat([0, 1], 4), [Replica()] * 4) == 18.0


@pytest.mark.parametrize(
    ("away", "end"),
    [
        ((), 4.0),
        (((1.5, 10.0),), 13.0),  # one was done, the second is begun again
        (((0.0, 2.0),), 6.0),
        (((4.0, 9.0),), 4.0),  # it had just ended
        (((1.0, 2.0), (3.5, 5.0)), 7.0),
    ],
)
def test_an_absence_costs_the_request_in_hand(away: tuple[tuple[float, float], ...], end: float) -> None:
    assert partitions.end_of_share(np.ones(4), Replica(away=away), 0.0) == end


def test_a_share_that_begins_while_its_replica_is_away_waits_for_it() -> None:
    assert partitions.end_of_share(np.ones(2), Replica(away=((1.0, 5.0),)), 3.0) == 7.0
    assert partitions.end_of_share(np.array([]), Replica(), 3.0) == 3.0


def test_the_suite_is_as_large_as_it_says() -> None:
    drawn = draw(0, 0.02)
    assert len(SUITE) == 20
    assert len(drawn.seconds) == sum(max(1, round(each.samples * 0.02)) * each.repeats for each in SUITE)
    assert (drawn.seconds > 0).all()
    for each in TROUBLED:
        replicas = makespan.cluster(64, each, 100.0, seed=1)
        assert sum(replica.speed == 0.5 for replica in replicas) == (1 if each.slow else 0)
        assert lower_bound(drawn.seconds, replicas) > 0


TROUBLED = makespan.TROUBLES


def test_no_partition_beats_the_bound() -> None:
    drawn = draw(1, 0.01)
    for trouble in TROUBLED:
        replicas = makespan.cluster(16, trouble, 600.0, seed=2)
        bound = lower_bound(drawn.seconds, replicas)
        for name, method in makespan.METHODS.items():
            assert method(drawn, replicas) >= bound * (1 - 1e-9), (trouble.title, name)


def test_the_coordinator_answers_light_workers_and_keeps_every_answer() -> None:
    """Real sockets and the real journal; `measure` itself raises where an answer is missing."""
    told = io.StringIO()
    with (
        contextlib.redirect_stdout(told),
        patch.object(connections, "CLAIMS", (4,)),
        patch("sys.argv", ["x", "--quick"]),
    ):
        assert connections.main() in (0, 1)
    assert "| 4 | 1,024 |" in told.getvalue()
