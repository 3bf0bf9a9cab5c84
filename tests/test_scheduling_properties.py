"""Guards against what makes a score wrong or a run hang: work lost, done twice, or withheld from everybody.

A model of the queue that is too simple to be wrong (sets and counts) is driven beside the real one through
random joins, claims, completions, deaths, comebacks and returns.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from muster.core.choices import Schedule
from muster.scheduling.queue import Claim, Item, WorkQueue
from muster.scheduling.schedules import SCHEDULES

NAMES = ("a", "b", "c", "d")
ITEMS = st.builds(
    Item,
    cost=st.integers(0, 1000).map(float),
    batch_key=st.integers(0, 2),
    media=st.sampled_from(("", "x", "y")),
)
STEPS_BACK = st.lists(st.integers(-6, 3), max_size=40)
"""How far before each item the one is that it comes after; none where it isn't positive, or before the first."""


class QueueMachine(RuleBasedStateMachine):
    """The queue against the model."""

    @initialize(
        items=st.lists(ITEMS, max_size=40),
        back=STEPS_BACK,
        schedule=st.sampled_from(SCHEDULES),
        replicas=st.integers(1, 5),
    )
    def start(self, items: list[Item], back: list[int], schedule: Schedule, replicas: int) -> None:
        for index, steps in enumerate(back[: len(items)]):
            if 0 < steps <= index:
                items[index] = replace(items[index], after=index - steps)
        self.items = items
        self.schedule = schedule
        self.queue = WorkQueue(items, schedule=schedule, replicas=replicas)
        self.blocked = {index for index, item in enumerate(items) if item.after is not None}
        self.waiting = set(range(len(items))) - self.blocked
        self.held: dict[str, set[int]] = {}
        self.batched: dict[str, bool] = {}
        self.deaths = [0] * len(items)
        self.done: set[int] = set()
        self.seen: dict[str, set[int]] = {name: set() for name in NAMES}

    @rule(name=st.sampled_from(NAMES), rank=st.integers(0, 6), slots=st.integers(1, 9), batched=st.booleans())
    def join(self, name: str, rank: int, slots: int, batched: bool) -> None:
        self.queue.join(name, rank=rank, slots=slots, batched=batched)
        self.held.setdefault(name, set())
        self.batched[name] = batched

    @precondition(lambda self: self.held)
    @rule(data=st.data(), limit=st.integers(1, 12), idle=st.booleans())
    def claim(self, data: st.DataObject, limit: int, idle: bool) -> None:
        self.check_claim(data.draw(st.sampled_from(sorted(self.held))), limit, idle=idle)

    def check_claim(self, name: str, limit: int, *, idle: bool) -> Claim:
        claim = self.queue.claim(name, limit, idle=idle)
        mine = self.held[name]
        got = set(claim.indices)
        assert len(got) == len(claim.indices) <= limit
        assert got <= self.waiting
        assert (claim.state == "work") == bool(got)
        assert (claim.state == "finished") == (len(self.done) == len(self.items))
        if claim.state == "wait":
            assert not idle
            assert mine
        if self.batched[name]:
            assert len({self.items[index].batch_key for index in got}) <= 1
        suspects = {index for index in got | mine if self.deaths[index] >= 2}
        if got and suspects:
            assert got == suspects
            assert len(got) == 1
            assert not mine
        ordinary = {index for index in self.waiting if self.deaths[index] < 2}
        if self.schedule == "dynamic" and (not mine or (idle and not suspects and ordinary)):
            assert bool(got) == bool(self.waiting)
        self.waiting -= got
        mine |= got
        self.seen[name] |= got
        return claim

    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def complete(self, data: st.DataObject, name: str) -> None:
        """Anything the worker ever had: held, lost in the meantime, requeued, or done by others."""
        if self.seen[name]:
            self.deliver(name, data.draw(st.sampled_from(sorted(self.seen[name]))))

    def deliver(self, name: str, index: int) -> None:
        expected = "duplicate" if index in self.done else "accepted"
        assert self.queue.complete(name, index) == expected
        self.done.add(index)
        self.waiting.discard(index)
        self.blocked.discard(index)
        for mine in self.held.values():
            mine.discard(index)
        self.unblock()

    def unblock(self) -> None:
        """What came after something that is done now waits."""
        freed = {index for index in self.blocked if self.items[index].after in self.done}
        self.blocked -= freed
        self.waiting |= freed

    @precondition(lambda self: self.blocked)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        """A later turn is settled although nobody could claim it: the turn before it failed."""
        index = data.draw(st.sampled_from(sorted(self.blocked)))
        assert self.queue.complete("nobody", index) == "accepted"
        self.blocked.discard(index)
        self.done.add(index)
        self.unblock()

    @rule(name=st.sampled_from(NAMES))
    def lose(self, name: str) -> None:
        mine = self.held.pop(name, set())
        for index in mine:
            self.deaths[index] += 1
        poisoned = {index for index in mine if self.deaths[index] >= 3}
        loss = self.queue.lose(name)
        assert set(loss.poisoned) == poisoned
        assert set(loss.requeued) == mine - poisoned
        self.done |= poisoned
        self.waiting |= mine - poisoned
        self.unblock()

    @rule(name=st.sampled_from(NAMES))
    def leave(self, name: str) -> None:
        mine = self.held.pop(name, set())
        assert set(self.queue.leave(name).requeued) == mine
        self.waiting |= mine

    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def release(self, data: st.DataObject, name: str) -> None:
        if not self.seen[name]:
            return
        given = data.draw(st.lists(st.sampled_from(sorted(self.seen[name])), max_size=5))
        self.queue.release(name, given)
        back = set(given) & self.held.get(name, set())
        self.held.get(name, set()).difference_update(back)
        self.waiting |= back

    @rule()
    def forget_absent(self) -> None:
        self.queue.forget_absent()

    @rule(rank=st.integers(0, 6))
    def abandon(self, rank: int) -> None:
        self.queue.abandon(rank)

    @invariant()
    def counts_agree(self) -> None:
        held = {index: name for name, mine in self.held.items() for index in mine}
        assert self.queue.total == len(self.items)
        assert self.queue.unclaimed == len(self.waiting)
        assert self.queue.blocked == len(self.blocked)
        assert self.queue.outstanding == len(held)
        assert self.queue.done == len(self.done)
        assert self.queue.finished == (len(self.done) == len(self.items))
        left = sum(item.cost for index, item in enumerate(self.items) if index not in self.done)
        assert self.queue.remaining_cost == left
        assert self.queue.unclaimed_cost == sum(self.items[index].cost for index in self.waiting)
        assert all(self.queue.holder(index) == held.get(index) for index in range(len(self.items)))
        assert all(set(self.queue.held(name)) == self.held.get(name, set()) for name in NAMES)

    def teardown(self) -> None:
        """Whatever happened before: workers that finish what they hold and ask again get everything done."""
        if not hasattr(self, "queue"):
            return
        self.queue.forget_absent()
        self.join("a", rank=0, slots=3, batched=True)
        while not self.queue.finished:
            before = self.queue.done
            for name in sorted(self.held):
                for index in sorted(self.held[name]):
                    self.deliver(name, index)
                self.check_claim(name, 4, idle=True)
                for index in sorted(self.held[name]):
                    self.deliver(name, index)
            assert self.queue.done > before or self.queue.finished, "a round of idle claims made no progress"
        assert self.done == set(range(len(self.items)))


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
