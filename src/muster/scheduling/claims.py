"""What goes into the work queue and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

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
