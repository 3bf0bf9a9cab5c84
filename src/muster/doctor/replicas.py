"""Whether replicas of several GPUs can be made of what this process sees, as `muster run` would make them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from muster.core import ConfigurationError
from muster.engines.placement import Asked, replicas_here, take_seat
from muster.machine.ranks import Ranks


class ReplicaView(NamedTuple):
    """This process's part in the replicas, or why there is none."""

    part: str = ""
    problem: str = ""


def see_replica(asked: Asked | None, ranks: Ranks | None, gpus: Sequence[str]) -> ReplicaView:
    """What `--gpus-per-replica` and `--parallelism` come to here; nothing where they weren't given."""
    if asked is None:
        return ReplicaView()
    try:
        if ranks is None:
            replicas, shape = replicas_here(asked, None, len(gpus))
            return ReplicaView(f"{replicas} × ({shape})")
        seat = take_seat(asked, ranks, gpus)
    except ConfigurationError as error:
        return ReplicaView(problem=str(error))
    first = ranks.rank - ranks.local_rank % seat.ranks_per_replica
    role = "feeds" if seat.leads else f"not needed: rank {first} feeds"
    devices = f" on GPU {', '.join(seat.gpus)}" if seat.gpus else ""
    return ReplicaView(f"{role} replica {seat.replica}{devices} ({seat.shape})")
