"""How much an endpoint is asked at once, and when it is left alone: under a simulated clock.

Guards against a client that crawls at its first guess, that buries a server it could have fed, that never recovers
from one bad minute, or that keeps knocking at a dead server's door.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.models.api.breaker import COOLDOWN_SECONDS, FAILURES, LONGEST_COOLDOWN_SECONDS, Breaker
from muster.models.api.endpoints import EndpointPool, Lease
from muster.models.api.limit import MOST, SMALLEST_ROUND, START, AdaptiveLimit
from muster.models.api.retry_policy import LONGEST_PAUSE_SECONDS, pause_seconds


def simulate(
    limit: AdaptiveLimit,
    capacity: int,
    answers: int,
    *,
    refuses_from: int | None = None,
    seconds: Callable[[random.Random], float] = lambda _: 1.0,
    seed: int = 0,
) -> tuple[float, int]:
    """Feed a server that works on `capacity` requests at a time and queues the rest; or refuses them.

    Returns the time that `answers` took, and the most requests that were with it.
    """
    rng = random.Random(seed)
    now, done, busiest = 0.0, 0, 0
    busy: list[tuple[float, int, float, int]] = []  # ends at, number, began, round
    queued: list[tuple[float, int]] = []
    number = 0
    while done < answers:
        while len(busy) + len(queued) < limit.limit:
            number += 1
            begun = limit.begin(len(busy) + len(queued) + 1)
            if refuses_from is not None and len(busy) + len(queued) >= refuses_from:
                limit.overloaded(begun)
                break
            if len(busy) < capacity:
                heapq.heappush(busy, (now + seconds(rng), number, now, begun))
            else:
                queued.append((now, begun))
        busiest = max(busiest, len(busy) + len(queued))
        now, _, began, begun = heapq.heappop(busy)
        done += 1
        limit.answered(begun, now - began)
        if queued:
            began, begun = queued.pop(0)
            heapq.heappush(busy, (now + seconds(rng), number, began, begun))
    return now, busiest


def test_a_server_with_room_is_filled() -> None:
    """From 8 at once to 200 within the first thousand answers."""
    limit = AdaptiveLimit()
    simulate(limit, capacity=200, answers=1_000)
    assert limit.limit >= 200


@pytest.mark.parametrize("capacity", [4, 32, 100])
def test_a_full_server_is_kept_busy_and_not_buried(capacity: int) -> None:
    """More in flight than the server works on only waits there; growth stops soon after it has enough."""
    limit = AdaptiveLimit()
    seconds, busiest = simulate(limit, capacity, answers=5_000, seconds=lambda rng: rng.expovariate(1.0))
    assert busiest <= max(3 * capacity, 100)
    assert seconds < 1.35 * 5_000 / capacity


def test_a_limit_of_requests_is_found_and_not_hit_all_the_time() -> None:
    """Additive increase and multiplicative decrease around the place where 429 begins."""
    limit = AdaptiveLimit()
    seconds, busiest = simulate(limit, capacity=1_000, answers=5_000, refuses_from=50)
    assert busiest <= 50
    assert seconds < 2 * 5_000 / 50


def test_one_burst_of_refusals_halves_once() -> None:
    limit = AdaptiveLimit(start=64, most=64)
    rounds = [limit.begin(number) for number in range(1, 65)]
    for begun in rounds:
        limit.overloaded(begun)
    assert limit.limit == 32


def test_it_recovers_from_a_storm() -> None:
    limit = AdaptiveLimit(start=64)
    for _ in range(10):
        limit.overloaded(limit.begin(1))
    assert limit.limit == 1
    simulate(limit, capacity=1_000, answers=2_000)
    assert limit.limit >= 64


def test_slower_answers_at_the_same_limit_make_it_give_way() -> None:
    limit = AdaptiveLimit(start=32, most=32)
    for latency in (1.0, 3.0):
        for _ in range(32):
            limit.answered(limit.begin(32), latency)
    assert limit.limit == 24


def test_unused_room_teaches_nothing() -> None:
    """At the end of a run, or behind slow image decoding, few are in flight: that is no reason to allow more."""
    limit = AdaptiveLimit()
    for _ in range(1_000):
        limit.answered(limit.begin(2), 1.0)
    assert limit.limit == START


def test_what_the_user_set_is_used_at_once_and_only_refusals_lower_it() -> None:
    limit = AdaptiveLimit(most=100, adaptive=False)
    assert limit.limit == 100
    for latency in (1.0, 50.0):
        for _ in range(100):
            limit.answered(limit.begin(100), latency)
    assert limit.limit == 100
    limit.overloaded(limit.begin(1))
    assert limit.limit == 50
    for _ in range(5_000):
        limit.answered(limit.begin(limit.limit), 1.0)
    assert limit.limit == 100


Event = st.tuples(st.sampled_from(["begin", "answer", "overload"]), st.floats(0, 100), st.integers(0, 20))


@given(st.lists(Event, max_size=300), st.booleans(), st.integers(1, 600))
@settings(max_examples=100, deadline=None)
def test_the_limit_stays_between_one_and_the_most(
    events: list[tuple[str, float, int]], adaptive: bool, most: int
) -> None:
    limit = AdaptiveLimit(most=most, adaptive=adaptive)
    rounds = [limit.begin(1)]
    for event, seconds, which in events:
        begun = rounds[which % len(rounds)]
        if event == "begin":
            rounds.append(limit.begin(limit.limit))
        elif event == "answer":
            for _ in range(SMALLEST_ROUND):
                limit.answered(begun, seconds)
        else:
            before = limit.limit
            limit.overloaded(begun)
            assert limit.limit <= before
        assert 1 <= limit.limit <= most <= max(MOST, 600)


# -- the breaker


def test_a_dead_endpoint_is_left_alone_and_probed_ever_more_rarely() -> None:
    breaker, now = Breaker(), 0.0
    for _ in range(FAILURES):
        assert breaker.state(now) == "closed"
        breaker.failed(now, probe=breaker.begin(now))
    waits = []
    for _ in range(8):
        assert not breaker.admits(now)
        opens = breaker.opens_at
        assert opens is not None
        waits.append(opens - now)
        now = opens
        assert breaker.admits(now)
        probe = breaker.begin(now)
        assert probe
        assert not breaker.admits(now), "one probe at a time"
        breaker.failed(now, probe=probe)
    assert waits == sorted(waits)
    assert waits[0] == COOLDOWN_SECONDS
    assert waits[-1] == LONGEST_COOLDOWN_SECONDS
    assert breaker.opens_at is not None
    now = breaker.opens_at
    breaker.begin(now)
    breaker.worked()
    assert breaker.state(now) == "closed"


def test_failures_that_were_sent_before_it_opened_dont_count() -> None:
    """64 requests die with their server; the probe alone decides what comes after."""
    breaker = Breaker()
    for _ in range(64):
        breaker.failed(0.0, probe=False)
    assert breaker.opens_at == COOLDOWN_SECONDS
    probe = breaker.begin(COOLDOWN_SECONDS)
    breaker.failed(COOLDOWN_SECONDS, probe=False)
    assert breaker.state(COOLDOWN_SECONDS) == "half-open"
    breaker.withdrawn(probe=probe)
    assert breaker.admits(COOLDOWN_SECONDS), "a probe that was given up makes room for another"


def test_an_answer_in_between_starts_the_count_again() -> None:
    breaker = Breaker()
    for _ in range(20):
        for _ in range(FAILURES - 1):
            breaker.failed(0.0, probe=False)
        breaker.worked()
    assert breaker.state(0.0) == "closed"


# -- several endpoints


def pool(count: int, places: int = 4, most: int = 1_000) -> EndpointPool:
    return EndpointPool(
        [f"e{i}" for i in range(count)], lambda: AdaptiveLimit(most=places, adaptive=False), most
    )


def test_the_least_loaded_endpoint_is_asked() -> None:
    endpoints = pool(3)
    leases = [endpoints.lease(0.0) for _ in range(9)]
    assert [lease.endpoint.name for lease in leases if lease] == ["e0", "e1", "e2"] * 3
    assert leases[4] is not None
    endpoints.answered(leases[4], 1.0)
    lease = endpoints.lease(0.0)
    assert lease is not None
    assert lease.endpoint.name == "e1"


def test_a_slow_endpoint_gets_less_without_anybody_noticing() -> None:
    """One that answers ten times slower holds its places longer; nothing else is needed."""
    endpoints, now = pool(2), 0.0
    ends: list[tuple[float, int]] = []
    leases: dict[int, Lease] = {}
    served = [0, 0]
    for number in range(500):
        while (lease := endpoints.lease(now)) is None:
            now, done = heapq.heappop(ends)
            endpoints.answered(leases.pop(done), 1.0)
        served[lease.endpoint.index] += 1
        leases[number] = lease
        heapq.heappush(ends, (now + (1.0 if lease.endpoint.index else 10.0), number))
    assert served[1] > 7 * served[0]


def test_another_endpoint_is_tried_after_a_failure() -> None:
    endpoints = pool(2)
    first = endpoints.lease(0.0)
    assert first is not None
    endpoints.failed(first, 0.0, reachable=True)
    again = endpoints.lease(0.0, avoid=first.endpoint)
    assert again is not None
    assert again.endpoint is not first.endpoint


def test_a_paused_endpoint_has_no_places_until_it_said_so() -> None:
    endpoints = pool(1)
    lease = endpoints.lease(0.0)
    assert lease is not None
    endpoints.overloaded(lease, 0.0, retry_after=7.0)
    assert endpoints.lease(6.9) is None
    assert endpoints.places(6.9) == 0
    assert endpoints.changes_at(1.0) == 7.0
    assert endpoints.lease(7.0) is not None


def test_the_users_limit_holds_for_all_endpoints_together() -> None:
    assert pool(3, places=10, most=10).places(0.0) == 10


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 50), st.floats(0, 3)), max_size=200))
@settings(max_examples=100, deadline=None)
def test_places_are_never_lost(events: list[tuple[int, int, float]]) -> None:
    """Whatever happens, an endpoint holds what was leased and not given back, and all becomes free again."""
    endpoints, now = pool(3), 0.0
    out: list[Lease] = []
    for event, which, seconds in events:
        now += seconds
        if event == 0 or not out:
            if lease := endpoints.lease(now):
                out.append(lease)
        else:
            lease = out.pop(which % len(out))
            if event == 1:
                endpoints.answered(lease, seconds)
            elif event == 2:
                endpoints.overloaded(lease, now, retry_after=seconds)
            elif event == 3:
                endpoints.failed(lease, now, reachable=which % 2 == 0)
            else:
                endpoints.withdrawn(lease)
        for endpoint in endpoints.endpoints:
            assert endpoint.in_flight == sum(lease.endpoint is endpoint for lease in out)
    for lease in out:
        endpoints.withdrawn(lease)
    while (at := endpoints.changes_at(now)) is not None:
        now = at
    assert endpoints.lease(now) is not None


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_pauses_grow_and_are_bounded(failures: int, share: float) -> None:
    assert 0.25 <= pause_seconds(failures, share) <= LONGEST_PAUSE_SECONDS
