"""The work queue: who may work on which request, and what is done. Exact whatever dies or comes back.

Pure bookkeeping: no clock, no threads, no I/O. The coordinator calls it, the simulator calls it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from muster.core.choices import Schedule
from muster.scheduling import allowance
from muster.scheduling.claims import Claim, ClaimState, Item, Items, Loss
from muster.scheduling.lane import ALONE, BLOCKED, DONE, HELD, WAITING, Lane
from muster.scheduling.ledger import Ledger
from muster.scheduling.schedules import SCHEDULES, longest_first
from muster.scheduling.supply import CommonSupply, SharedOutSupply, Supply
from muster.scheduling.suspects import Suspects

__all__ = ["Claim", "ClaimState", "Item", "Items", "Loss", "WorkQueue"]


@dataclass(slots=True)
class _Worker:
    name: str
    share: int | None
    """Of a static schedule; None for a worker that none was meant for."""
    slots: int
    batched: bool
    held: dict[int, None] = field(default_factory=dict)
    """Places, in the order of their claims."""
    units: int = 0
    alone: bool = False
    """Runs a request that was in flight in two deaths."""


class WorkQueue:
    """Gives requests out in claims and counts completions. Every index is done exactly once.

    Inside, requests are known by their place in the order of the schedule, and costs are whole units (of
    2^-40 of the largest cost), so that sums are exact however often they are added to and taken from.
    """

    def __init__(self, items: Sequence[Item], *, schedule: Schedule = "dynamic", replicas: int) -> None:
        """`replicas` is the number expected; fewer or more may join.

        Raises `ValueError` for bad costs, and for an item that comes before the one that it is `after`.
        """
        if replicas < 1:
            raise ValueError(f"replicas must be at least 1, not {replicas}")
        if schedule not in SCHEDULES:
            raise ValueError(f"unknown schedule {schedule!r}: one of {', '.join(SCHEDULES)}")
        items = items if isinstance(items, Items) else Items(items)
        costs = np.array(items.costs, np.float64)
        if not (np.isfinite(costs).all() and (costs >= 0).all()):
            raise ValueError("predicted costs must be finite and not negative")
        dynamic = schedule == "dynamic"
        order = (
            longest_first(_to_the_end(costs, items.after), items.media) if dynamic else np.arange(len(items))
        )
        keys = np.array(items.batch_keys, np.int64)[order]
        self._index = array("q", order.tobytes())
        self._place = array("q", np.argsort(order).tobytes())
        self._scale, units = _whole_units(costs[order])
        self._keys = array("q", keys.tobytes())
        self._ledger = Ledger(units)
        self._states = self._ledger.states
        self._followers = self._block(items.after)
        self._supply: Supply = (
            CommonSupply(keys, self._states)
            if dynamic
            else SharedOutSupply(schedule, len(items), replicas, self._states)
        )
        self._dynamic = dynamic
        self._replicas = replicas
        self._absent = set(range(replicas))
        self._workers: dict[str, _Worker] = {}
        self._holder: dict[int, _Worker] = {}
        self._suspects = Suspects(self._states)

    # Workers come and go

    def join(self, worker: str, *, rank: int | None, slots: int, batched: bool) -> None:
        """A worker is ready. `slots`: requests that it runs at the same time; `batched`: as one static batch.

        `rank` says which static share is its own; without one it takes from the common pool alone.

        A worker that is in already changes its capacity and keeps its claims; one that was lost comes back
        empty-handed.
        """
        if (rank is not None and rank < 0) or slots < 1:
            raise ValueError(f"worker {worker!r}: rank {rank} must not be negative, slots {slots} at least 1")
        share = None if rank is None else rank % self._replicas
        if share is not None:
            self._absent.discard(share)
        known = self._workers.get(worker)
        if known is None:
            self._workers[worker] = _Worker(worker, share, slots, batched)
        else:
            before, known.share = known.share, share
            known.slots, known.batched = slots, batched
            self._abandon_unless_owned(before)

    def lose(self, worker: str) -> Loss:
        """A worker is dead or silent: what it held waits again, and each of those counts one death more.

        Without effect for a worker that is not in (any more).
        """
        return self._part(worker, died=True)

    def undo_loss(self, indices: Iterable[int]) -> None:
        """Take back one death of each: the worker that held them turned out to live."""
        for index in indices:
            place = self._place_of(index)
            if self._suspects.undo_death(place):
                self._wait([place], None)

    def leave(self, worker: str) -> Loss:
        """A worker ends in good order: what it still held waits again; nothing is held against it."""
        return self._part(worker, died=False)

    def forget_absent(self) -> None:
        """Stop expecting ranks that never joined: their static shares become common."""
        for share in sorted(self._absent):
            self._supply.abandon(share)
        self._absent.clear()

    def abandon(self, rank: int) -> None:
        """Stop expecting this rank, as `forget_absent` does for all. Its share becomes common."""
        self._absent.discard(rank % self._replicas)
        self._supply.abandon(rank % self._replicas)

    # Work goes out and comes back

    def claim(self, worker: str, limit: int, *, idle: bool) -> Claim:
        """Up to `limit` requests for a worker; those of a batched worker share their batch key.

        `idle`: the worker can do nothing else until it gets something. Then it gets at least one request if
        any waits that it may have, and never `wait`. Otherwise it prefetches, and gets work only as far as
        what it holds stays within its fair share of what is left.
        Raises `ValueError` for a worker that is not in.
        """
        if limit < 1:
            raise ValueError(f"worker {worker!r} claims {limit} requests: at least 1")
        me = self._workers.get(worker)
        if me is None:
            raise ValueError(
                f"worker {worker!r} is not in (never joined, or lost): it must join before it claims"
            )
        if self.finished:
            return Claim((), "finished")
        idle = idle or not me.held
        withheld = Claim((), "empty" if idle else "wait")
        if me.alone:
            return withheld
        if self._suspects.any_waiting():
            if not me.held:
                return self._give_suspect(me)
            if not idle and self._suspects.reserve(me.name):
                return withheld
        lane = self._supply.lane(me.share, batched=me.batched, common=idle or len(me.held) < me.slots)
        if lane is None:
            return Claim((), "empty")
        allowed = self._allowance(me, lane, limit, idle=idle)
        return withheld if allowed is None else self._give(me, lane, allowed)

    def complete(self, worker: str, index: int) -> Literal["accepted", "duplicate"]:
        """An answer has come. The first one counts, even from a worker that was lost in the meantime.

        What had to come after it can now be claimed. `worker` need not be in, nor hold the request.
        Raises `IndexError` for an index that doesn't exist.
        """
        del worker  # whose answer it is makes no difference: the first one counts
        place = self._place_of(index)
        if self._states[place] == DONE:
            return "duplicate"
        if self._states[place] == HELD:
            self._take_from_holder(place)
        self._finish(place)
        return "accepted"

    def release(self, worker: str, indices: Iterable[int]) -> None:
        """Give back claims that were never started. Those that the worker doesn't hold are left alone."""
        me = self._workers.get(worker)
        if me is None:
            return
        places = dict.fromkeys(self._place_of(index) for index in indices)
        self._wait_again([place for place in places if place in me.held], me.share)

    def reopen(self, indices: Iterable[int]) -> None:
        """Take completions back: their answers were lost with the worker that kept them. Nobody is blamed.

        What came after them is not blocked again.
        """
        self._wait([p for index in indices if self._states[p := self._place_of(index)] == DONE], None)

    def set_aside(self, index: int) -> bool:
        """It was answered, and what is asked next in its place isn't known yet: nobody gets it before `put_forward`.

        False where it is done or set aside already.
        """
        place = self._place_of(index)
        if self._states[place] in (DONE, BLOCKED):
            return False
        if self._states[place] == HELD:
            self._take_from_holder(place)
        self._ledger.move((place,), BLOCKED)
        return True

    def put_forward(self, index: int) -> None:
        """What was set aside can be claimed again, at its old place in the order."""
        if self._states[place := self._place_of(index)] == BLOCKED:
            self._wait([place], None)

    # What is where

    @property
    def total(self) -> int:
        """Requests in all."""
        return len(self._states)

    @property
    def unclaimed(self) -> int:
        """Requests that wait and can be claimed."""
        return self._ledger.unclaimed

    @property
    def blocked(self) -> int:
        """Requests that can't be claimed before another one is done, or before it is known what is asked next."""
        return self._ledger.blocked

    @property
    def outstanding(self) -> int:
        """Requests that somebody holds."""
        return len(self._holder)

    @property
    def done(self) -> int:
        """Requests that are completed or poisoned."""
        return self._ledger.done

    @property
    def finished(self) -> bool:
        """Whether everything is done."""
        return self._ledger.done == len(self._states)

    @property
    def remaining_cost(self) -> float:
        """Predicted cost of everything that is not done, in the unit of the items."""
        return self._ledger.remaining_units / self._scale

    @property
    def unclaimed_cost(self) -> float:
        """Predicted cost of everything that waits and can be claimed, in the unit of the items."""
        return self._ledger.unclaimed_units / self._scale

    def holder(self, index: int) -> str | None:
        """The worker that holds a request."""
        worker = self._holder.get(self._place_of(index))
        return None if worker is None else worker.name

    def held(self, worker: str) -> tuple[int, ...]:
        """The requests that a worker holds, oldest claim first."""
        me = self._workers.get(worker)
        return () if me is None else tuple(self._index[place] for place in me.held)

    # Inside

    def _block(self, after: Mapping[int, int]) -> dict[int, list[int]]:
        """Block what must come after something else; by the place of that, the places of those."""
        followers: dict[int, list[int]] = {}
        for index, before in after.items():
            if not 0 <= before < index:
                raise ValueError(f"item {index} can't come after {before}: that must be an earlier one")
            self._ledger.move([self._place[index]], BLOCKED)
            followers.setdefault(self._place[before], []).append(self._place[index])
        return followers

    def _place_of(self, index: int) -> int:
        if index < 0:  # would count from the end
            raise IndexError(f"no request {index}")
        return self._place[index]

    def _allowance(self, me: _Worker, lane: Lane, limit: int, *, idle: bool) -> allowance.Allowance | None:
        """What the worker may take from a lane that has something; None: it must wait."""
        if not self._dynamic:  # a static share is the worker's whatever it costs
            return allowance.Allowance(min(limit, me.slots), self._ledger.remaining_units)
        now = allowance.Standing(
            replicas=len(self._workers) + len(self._absent),
            unclaimed=self._ledger.unclaimed,
            unclaimed_units=self._ledger.unclaimed_units,
            remaining=len(self._states) - self._ledger.done,
            remaining_units=self._ledger.remaining_units,
            slots=me.slots,
            held=len(me.held),
            held_units=me.units,
            front_units=self._ledger.units[lane.front()],
        )
        return (allowance.batch if me.batched else allowance.one_by_one)(now, limit, idle=idle)

    def _give(self, me: _Worker, lane: Lane, allowed: allowance.Allowance) -> Claim:
        """Take from the front of a lane: the first whatever it costs, then as the allowance says."""
        places: list[int] = []
        spent, place = 0, lane.front()
        key = self._keys[place]
        while place >= 0 and len(places) < allowed.requests:
            units = self._ledger.units[place]
            if places and (spent + units > allowed.units or (me.batched and self._keys[place] != key)):
                break
            self._ledger.move((place,), HELD)
            places.append(place)
            spent += units
            place = lane.front()
        return self._hand_over(me, places, spent)

    def _hand_over(self, me: _Worker, places: list[int], units: int) -> Claim:
        me.held.update(dict.fromkeys(places))
        me.units += units
        self._holder.update(dict.fromkeys(places, me))
        return Claim(tuple([self._index[place] for place in places]), "work")

    def _give_suspect(self, me: _Worker) -> Claim:
        """A request that must be run alone, and nothing beside it."""
        place = self._suspects.take(me.name)
        self._ledger.move((place,), HELD)
        me.alone = True
        return self._hand_over(me, [place], self._ledger.units[place])

    def _part(self, worker: str, *, died: bool) -> Loss:
        me = self._workers.pop(worker, None)
        if me is None:
            return Loss((), ())
        self._suspects.release(worker)
        places, poisoned = list(me.held), []
        for place in places if died else ():
            if self._suspects.count_death(place):
                self._take_from_holder(place)
                self._finish(place)
                poisoned.append(place)
        requeued = [place for place in places if place in me.held]
        self._wait_again(requeued, None)
        self._abandon_unless_owned(me.share)
        return Loss(self._indices(requeued), self._indices(poisoned))

    def _abandon_unless_owned(self, share: int | None) -> None:
        if share is not None and not any(worker.share == share for worker in self._workers.values()):
            self._supply.abandon(share)

    def _wait_again(self, places: list[int], share: int | None) -> None:
        """Claims return to where they stood in the order: the longest, or the oldest, come first again."""
        for place in places:
            self._take_from_holder(place)
        for place in (suspected := [each for each in places if self._suspects.suspected(each)]):
            self._suspects.add(place)
        self._ledger.move(suspected, ALONE)
        self._wait([each for each in places if not self._suspects.suspected(each)], share)

    def _wait(self, places: list[int], share: int | None) -> None:
        """Everybody may claim these, or first the one whose share it is."""
        self._ledger.move(places, WAITING)
        self._supply.put_back(places, share)

    def _take_from_holder(self, place: int) -> None:
        holder = self._holder.pop(place)
        del holder.held[place]
        holder.units -= self._ledger.units[place]
        if not holder.held:
            holder.alone = False

    def _finish(self, place: int) -> None:
        self._ledger.move((place,), DONE)
        if followers := self._followers.pop(place, None):
            self._wait([each for each in followers if self._states[each] == BLOCKED], None)

    def _indices(self, places: Iterable[int]) -> tuple[int, ...]:
        return tuple([self._index[place] for place in places])


def _to_the_end(costs: NDArray[np.float64], after: Mapping[int, int]) -> NDArray[np.float64]:
    """What each request costs together with the longest chain of those after it: none of them can start sooner."""
    chains = costs.copy()
    for index, before in reversed(list(after.items())):
        if before < index:
            chains[before] = max(chains[before], costs[before] + chains[index])
    return chains


def _whole_units(costs: NDArray[np.float64]) -> tuple[float, array[int]]:
    """Costs as whole numbers, the largest about 2^40, and how many of them are one of the caller's units."""
    largest = float(costs.max(initial=0.0))
    shift = min(40 - int(np.frexp(largest)[1]), 1000)  # 2^1024 is not a float
    return 2.0**shift, array("q", np.rint(np.ldexp(costs, shift)).astype(np.int64).tobytes())
