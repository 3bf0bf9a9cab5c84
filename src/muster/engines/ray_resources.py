"""What a replica needs of a Ray cluster, and how many fit. Values in, values out; asking Ray is the engine's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Node(NamedTuple):
    """What one node of the cluster has in all."""

    cpus: int
    gpus: int


class Need(NamedTuple):
    """What Ray reserves for one replica, on one node."""

    cpus: int
    gpus: int
    processes: int = 1
    """That share the CPUs."""

    def __str__(self) -> str:
        return " and ".join(f"{n} {what}" for n, what in ((self.gpus, "GPU"), (self.cpus, "CPU")) if n)


def node_from(resources: Mapping[str, float]) -> Node:
    """A node from Ray's `Resources`."""
    return Node(int(resources.get("CPU", 0)), int(resources.get("GPU", 0)))


def need_of_replica(
    nodes: Sequence[Node],
    *,
    gpus_per_replica: int,
    processes: int = 1,
    replicas: int | None,
    free_cpus: int,
    threads: int | None,
) -> Need:
    """What to reserve for each replica.

    With GPUs: these and one CPU for each of the replica's `processes`. Without: an equal part of the CPUs that are
    free, at most a whole node, so that one replica per node (or the number asked for) uses the cluster up. `threads`
    (OMP_NUM_THREADS) says otherwise for each process, up to what the smallest node has.
    """
    gpus = gpus_per_replica if any(node.gpus for node in nodes) else 0
    sizes = [node.cpus for node in nodes if node.cpus and node.gpus >= gpus]
    smallest = min(sizes, default=1)
    share = processes if gpus else free_cpus // (replicas or len(sizes) or 1)
    cpus = threads * processes if threads else share
    return Need(max(processes, min(smallest, cpus)), gpus, processes)


def room(nodes: Sequence[Node], need: Need) -> int:
    """Replicas that fit on these nodes when nobody else uses them."""
    return sum(
        min(node.cpus // need.cpus, node.gpus // need.gpus if need.gpus else node.cpus) for node in nodes
    )
