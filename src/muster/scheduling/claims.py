"""What goes into the work queue and what comes out of it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, overload

ClaimState = Literal["work", "wait", "empty", "finished"]


@dataclass(frozen=True, slots=True)
class Item:
    """What the queue knows of a request; its index in the sequence identifies it."""

    cost: float
    """Predicted, in any unit; finite and not negative."""
    batch_key: int = 0
    """Requests with the same key may share a static batch."""
    media: str = ""
    """Identity of its media: requests that share it stand together where they cost about the same."""
    after: int | None = None
    """The index, a smaller one, of the request that must be done before this one can be claimed: of a dialogue, the
    turn before."""


class Items(Sequence[Item]):
    """Items as columns, because a million of them would be a quarter of a gigabyte."""

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self.costs = array("d")
        self.batch_keys = array("q")
        self.media: list[str] = []
        self.after: dict[int, int] = {}
        """Of those that come after another one, in order."""
        for item in items:
            self.add(item.cost, item.batch_key, item.media, item.after)

    def add(self, cost: float, batch_key: int, media: str = "", after: int | None = None) -> None:
        """Add an item at the end: see `Item`."""
        if after is not None:
            self.after[len(self.costs)] = after
        self.costs.append(cost)
        self.batch_keys.append(batch_key)
        self.media.append(media)

    def __len__(self) -> int:
        return len(self.costs)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        number = range(len(self))[index]
        return Item(self.costs[number], self.batch_keys[number], self.media[number], self.after.get(number))


class Claim(NamedTuple):
    """What a worker got, longest first for the dynamic schedule."""

    indices: tuple[int, ...]
    state: ClaimState
    """`work`: `indices` are now the worker's. `wait`: what the worker holds is its share for now; ask again
    after its next completion (never said to a worker that holds nothing). `empty`: nothing for this worker at
    the moment, but more may come back; ask again when it holds nothing, or when a worker was lost or gave
    something back. `finished`: everything is done."""


class Loss(NamedTuple):
    """What became of the unfinished claims of a worker that is gone."""

    requeued: tuple[int, ...]
    poisoned: tuple[int, ...]
    """In flight in the third death: given up and counted as done; to be recorded as failed."""
