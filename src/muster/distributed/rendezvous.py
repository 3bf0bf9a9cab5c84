"""How ranks find the coordinator: rank 0 writes its address into the launcher's c10d store, the others read it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from muster.core import RunError
from muster.distributed.environment import Ranks, master_address

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

log = logging.getLogger(__name__)

_kept: list[Store] = []
"""The process that hosts a store must keep it alive until it ends."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where the coordinator is and how to prove that one belongs to its run."""

    addresses: list[tuple[str, int]]
    secret: str


def publish(ranks: Ranks, meeting: Meeting, timeout: float) -> None:
    """Rank 0: tell the others. Raises `RunError` when the store can't be reached."""
    open_store(ranks, timeout).set(_key(ranks), msgspec.json.encode(meeting).decode())


def join(ranks: Ranks, timeout: float, usable: Callable[[Meeting], bool]) -> Meeting:
    """Other ranks: the meeting that rank 0 published, once `usable` says that somebody answers there.

    An address that an earlier attempt of the group left behind is passed over until rank 0 replaces it.

    Raises:
        RunError: rank 0 never came; says where it was expected and for how long.
    """
    limit = time.monotonic() + timeout
    store = open_store(ranks, timeout)
    while True:
        meeting = _read(store, ranks, max(1.0, limit - time.monotonic()))
        if meeting is not None and usable(meeting):
            return meeting
        if time.monotonic() > limit:
            host, port = master_address(ranks)
            raise RunError(
                f"rank {ranks.rank} waited {timeout:.0f} s for rank 0, which never said where it is "
                f"(rendezvous at {host}:{port}). Look at rank 0's output; raise --rendezvous-timeout for slow nodes"
            )
        time.sleep(0.2)


def _read(store: Store, ranks: Ranks, wait: float) -> Meeting | None:
    from torch.distributed import DistStoreError

    try:
        store.wait([_key(ranks)], timedelta(seconds=wait))
        return msgspec.json.decode(store.get(_key(ranks)), type=Meeting)
    except DistStoreError:
        return None  # the wait ran out


def _key(ranks: Ranks) -> str:
    return f"muster/attempt_{ranks.attempt}/coordinator"


def group_store(ranks: Ranks, timeout: float) -> Store:
    """The group's store, under this attempt's own names."""
    from torch._C._distributed_c10d import PrefixStore

    store = _kept[-1] if _kept else open_store(ranks, timeout)
    return PrefixStore(f"attempt_{ranks.attempt}", store)


def open_store(ranks: Ranks, timeout: float, env: Mapping[str, str] = os.environ) -> Store:
    """The group's store: torchrun's own, or one that rank 0 hosts for srun and mpirun.

    Raises:
        RunError: nobody answers at the meeting point.
    """
    from torch._C._distributed_c10d import TCPStore
    from torch.distributed import DistError

    host, port = master_address(ranks, env)
    hosts_it = ranks.rank == 0 and env.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    try:
        store = TCPStore(
            host,
            port,
            is_master=hosts_it,
            timeout=timedelta(seconds=timeout),
            wait_for_workers=False,
            multi_tenant=True,
        )
    except DistError as error:
        role = "open" if hosts_it else "reach"
        raise RunError(
            f"rank {ranks.rank} could not {role} the rendezvous at {host}:{port} within {timeout:.0f} s: {error}. "
            "Check MASTER_ADDR, MASTER_PORT and that the nodes can reach each other"
        ) from error
    _kept.append(store)
    return store
