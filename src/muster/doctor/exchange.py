"""The ranks meet in the launcher's c10d store, show rank 0 what they see, and try an all_reduce together.

No rank waits for another without a limit, and ranks that don't come are left out of the all_reduce.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from muster.core import RunError
from muster.doctor.observation import Backend, Collective, Observation
from muster.doctor.within import within
from muster.machine import rendezvous
from muster.machine.ranks import Ranks, master_address

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

Choose = Callable[[Sequence[Observation]], Backend | None]
"""Which all_reduce the observations allow; None for none."""
Test = Callable[["Store", int, int, Backend], Collective]
"""An all_reduce: store, position among the processes that take part, their number, backend."""

_LATER = 15.0
"""Seconds that rank 0 waits for results beyond the limit that each rank keeps for itself."""
_GOODBYE = 5.0
_PREFIX = "doctor"


@dataclass(frozen=True, slots=True)
class Roster:
    """Rank 0's word: who takes part in which test, and what time it is."""

    clock: float
    ranks: list[int]
    backend: Backend | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rank reports after the roster."""

    skew: float
    collective: Collective | None


def lead(ranks: Ranks, mine: Observation, choose: Choose, test: Test, timeout: float) -> list[Observation]:
    """Rank 0: everybody's observation, as far as they came within `timeout` seconds, with the outcome of the test.

    Two processes that take themselves for the same rank give two observations.

    Raises:
        RunError: the store can't be opened, or died.
        ImportError: no torch.
    """
    store = _open(ranks, timeout)
    from torch.distributed import DistError

    try:
        _hand_in(store, mine)
        everybody = range(ranks.world_size)
        _wait(store, [_observation_key(rank, 1) for rank in everybody], timeout)
        came = [rank for rank in everybody if store.check([_observation_key(rank, 1)])]
        observations = [_read_observation(store, rank, 1) for rank in came]
        roster = Roster(time.time(), came, choose(observations))
        store.set(f"{_PREFIX}/roster", msgspec.json.encode(roster).decode())
        _take_part(store, roster, mine, test)
        _wait(store, [_outcome_key(rank) for rank in came], timeout + _LATER)
        seen = [_with_outcome(store, observation, roster) for observation in observations]
        seen += [
            _read_observation(store, rank, number)
            for rank in came
            for number in range(2, _arrivals(store, rank) + 1)
        ]
        store.set(f"{_PREFIX}/over", "1")
        _wait(store, [f"{_PREFIX}/left/{rank}" for rank in came if rank != ranks.rank], _GOODBYE)
    except DistError as error:
        raise RunError(
            f"the rendezvous broke while rank {ranks.rank} collected the ranks' words: {error}"
        ) from error
    return seen


def follow(ranks: Ranks, mine: Observation, test: Test, timeout: float) -> None:
    """Other ranks: show what is seen, and take part in the test.

    Raises:
        RunError: rank 0 never came, or another process is this rank already.
        ImportError: no torch.
    """
    store = _open(ranks, timeout)
    from torch.distributed import DistError

    try:
        if _hand_in(store, mine) > 1:
            raise RunError(
                f"another process is rank {ranks.rank} already; rank 0's report says more. "
                "Every process needs a RANK of its own: let one launcher set it"
            )
        if not _wait(store, [f"{_PREFIX}/roster"], 2 * timeout):
            raise RunError(
                f"rank {ranks.rank} waited {2 * timeout:.0f} s for rank 0, which prints the report and never came"
            )
        roster = msgspec.json.decode(store.get(f"{_PREFIX}/roster"), type=Roster)
        if ranks.rank not in roster.ranks:
            raise RunError(f"rank {ranks.rank} came too late: the others went on without it; raise --timeout")
        _take_part(store, roster, mine, test)
        _wait(store, [f"{_PREFIX}/over"], timeout + _LATER)
        store.set(f"{_PREFIX}/left/{ranks.rank}", "1")
    except DistError as error:
        raise RunError(f"rank {ranks.rank} lost the rendezvous, rank 0 may have ended: {error}") from error


def _open(ranks: Ranks, timeout: float) -> Store:
    """The group's store. Something else that listens there but never speaks would hold up c10d for ever."""
    import torch.distributed  # noqa: F401  may take long where disks are slow; that is not the rendezvous's time

    try:
        return within(timeout + _LATER, "the rendezvous", lambda: rendezvous.group_store(ranks, timeout))
    except TimeoutError as error:
        host, port = master_address(ranks)
        raise RunError(
            f"something listens at {host}:{port}, but it is no rendezvous: {error}. Another program may have taken "
            "the port: choose another MASTER_PORT on all ranks"
        ) from error


def _hand_in(store: Store, observation: Observation) -> int:
    """Show a observation; says which of the processes of this rank this is, counted from 1."""
    number = int(store.add(f"{_PREFIX}/arrivals/{observation.rank}", 1))
    store.set(_observation_key(observation.rank, number), msgspec.json.encode(observation).decode())
    return number


def _arrivals(store: Store, rank: int) -> int:
    return int(store.add(f"{_PREFIX}/arrivals/{rank}", 0))


def _take_part(store: Store, roster: Roster, mine: Observation, test: Test) -> None:
    skew = time.time() - roster.clock
    collective = None
    if roster.backend is not None:
        position = roster.ranks.index(mine.rank)
        collective = test(store, position, len(roster.ranks), roster.backend)
    outcome = Outcome(round(skew, 4), collective)
    store.set(_outcome_key(mine.rank), msgspec.json.encode(outcome).decode())


def _with_outcome(store: Store, observation: Observation, roster: Roster) -> Observation:
    if not store.check([_outcome_key(observation.rank)]):
        lost = (
            Collective(
                roster.backend,
                ok=False,
                problem="no result from this rank: its process ended or hangs in the all_reduce",
            )
            if roster.backend
            else None
        )
        return replace(observation, collective=lost)
    outcome = msgspec.json.decode(store.get(_outcome_key(observation.rank)), type=Outcome)
    versions = observation.versions | (outcome.collective.versions if outcome.collective else {})
    return replace(observation, skew=outcome.skew, collective=outcome.collective, versions=versions)


def _read_observation(store: Store, rank: int, number: int) -> Observation:
    return msgspec.json.decode(store.get(_observation_key(rank, number)), type=Observation)


def _wait(store: Store, keys: list[str], seconds: float) -> bool:
    """Whether all keys are there within `seconds`."""
    from torch.distributed import DistStoreError

    try:
        if keys:
            store.wait(keys, timedelta(seconds=seconds))
    except DistStoreError:
        return False
    return True


def _observation_key(rank: int, number: int) -> str:
    return f"{_PREFIX}/observation/{rank}/{number}"


def _outcome_key(rank: int) -> str:
    return f"{_PREFIX}/outcome/{rank}"
