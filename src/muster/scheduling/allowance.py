"""How much one worker may claim: never so much that the others stand idle at the end."""

from __future__ import annotations

from typing import NamedTuple

CLAIMS_PER_SHARE = 4
"""A claim is about a quarter of the worker's fair share of the unclaimed cost (docs/architecture.md)."""


class Allowance(NamedTuple):
    """Bounds of a claim; the first request is within them whatever it costs."""

    requests: int
    units: int


class Standing(NamedTuple):
    """What a claim is judged by. Costs in the queue's units; `replicas` are those that share what is left."""

    replicas: int
    unclaimed: int
    unclaimed_units: int
    remaining: int
    """Requests that are not done: unclaimed, or held by anybody."""
    remaining_units: int
    slots: int
    held: int
    held_units: int
    """What the worker itself holds."""
    front_units: int
    """The cost of the first request that it would get."""


def one_by_one(now: Standing, limit: int, *, idle: bool) -> Allowance | None:
    """For workers whose requests end one at a time. None: wait."""
    fair = now.remaining_units // now.replicas
    units = now.unclaimed_units // (now.replicas * CLAIMS_PER_SHARE)
    if not idle:
        if now.held >= now.slots:  # it would only lie there: half a fair share at most
            room = fair // 2 - now.held_units
            if room < now.front_units:
                return None
            units = min(units, room)
        elif now.held_units > fair:  # a slot is free, but somebody else has less to do
            return None
    return Allowance(min(limit, now.slots), units)


def batch(now: Standing, limit: int, *, idle: bool) -> Allowance | None:
    """For workers whose requests run as one static batch. None: wait.

    A batch takes between the time of its longest member (decoding on a GPU) and the sum of all (a slow CPU);
    which, isn't known here. Full batches until less than one is left for each, then equal parts of what is
    left, but no less than half a batch while others are still at work: smaller ones would waste the device
    in the first case and buy little balance in the second. And never more cost than a fair share: else the
    longest requests of a heavy tail would all lie in one batch. Found by simulation: on
    average 4 % behind the best of the rules tried for each case (2 % near the GPU's extreme, 8 % at the CPU's).
    """
    part = -(-now.unclaimed // now.replicas)
    floor = min(now.slots // 2, -(-now.remaining // now.replicas))
    requests = max(1, min(limit, now.slots, max(part, floor)))
    fair = now.remaining_units // now.replicas
    if idle:
        return Allowance(requests, fair)
    room = fair // 2 - now.held_units  # prefetched: half a fair share at most, by cost and by count
    if room < now.front_units or 2 * (now.held + requests) * now.replicas > now.remaining:
        return None
    return Allowance(requests, room)
