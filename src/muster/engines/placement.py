"""How many replicas there are, which GPUs each one gets, and which of a launcher's ranks feed one.

Values in, values out: the variables and the driver are asked by `devices` and `environment`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from muster.config import RunConfig
from muster.core import ConfigurationError
from muster.core.choices import Parallelism
from muster.machine.gpus import sees_its_own, share, visible_gpus
from muster.machine.ranks import Ranks
from muster.models.registry import starts_processes, uses_gpus

log = logging.getLogger(__name__)


class Shape(NamedTuple):
    """One replica."""

    gpus: int = 1
    """On a machine without GPUs, with `tensor`: processes."""
    parallelism: Parallelism = "device-map"
    beside: bool = False
    """Whether the backend starts processes of its own kind: an engine, a server."""

    @property
    def processes(self) -> int:
        """How many hold a part of the model."""
        return self.gpus if self.parallelism == "tensor" else 1

    @property
    def alone(self) -> bool:
        """Whether it is one process, which lives and dies as a whole."""
        return self.processes == 1 and not self.beside

    def __str__(self) -> str:
        """`2 GPUs per replica, tensor`."""
        return f"{self.gpus} GPUs per replica, {self.parallelism}" if self.gpus > 1 else "1 GPU per replica"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run's options say about the GPUs of a replica."""

    gpus: int | None = None
    parallelism: Parallelism = "device-map"
    spread: bool = False
    """Whether the model is to lie on several GPUs: where nobody says on how many, on all that there are for it."""
    on_cpu: bool = False
    beside: bool = False
    """As `Shape.beside`."""

    @classmethod
    def by(cls, config: RunConfig) -> Asked:
        """What this configuration says."""
        return cls(
            config.gpus_per_replica,
            config.parallelism or "device-map",
            spread=config.parallelism is not None or _spreads(config.model_args.get("device_map")),
            on_cpu=not uses_gpus(config.backend, config.model_args),
            beside=starts_processes(config.backend),
        )

    def visible(self) -> list[str]:
        """The GPUs that are there for the replicas on this machine."""
        return [] if self.on_cpu else visible_gpus()

    def shape(self, gpus: int, replicas: int) -> Shape:
        """A replica's shape where `replicas` share so many GPUs. Raises `ConfigurationError`."""
        if self.gpus is not None:
            return Shape(self.gpus, self.parallelism, self.beside)
        if self.spread and gpus == 0 and self.parallelism == "tensor":
            raise ConfigurationError(
                "--parallelism tensor: there are no GPUs to count, so say with --gpus-per-replica how many processes "
                "share a model"
            )
        return Shape(max(1, gpus // replicas) if self.spread else 1, self.parallelism, self.beside)


def _spreads(device_map: object) -> bool:
    if isinstance(device_map, Mapping):
        return len({where for where in device_map.values() if where not in ("cpu", "disk")}) > 1
    return device_map in ("auto", "balanced", "balanced_low_0", "sequential")


def replicas_here(asked: Asked, wanted: int | None, gpus: int) -> tuple[int, Shape]:
    """How many replicas one machine has: as many as are wanted, or as fit on its GPUs; and their shape.

    Raises:
        ConfigurationError: they need more GPUs than there are.
    """
    if asked.gpus is None:
        replicas = wanted or (1 if asked.spread else max(1, gpus))
        return replicas, asked.shape(gpus, replicas)
    if gpus and (wanted or 1) * asked.gpus > gpus:
        what = (
            f"{wanted} replicas with {asked.gpus} GPUs each" if wanted else f"--gpus-per-replica {asked.gpus}"
        )
        raise ConfigurationError(
            f"{what}: only {gpus} GPU(s) are visible. Lower --replicas or --gpus-per-replica, make more visible "
            "(CUDA_VISIBLE_DEVICES), or pass --model-args device=cpu"
        )
    replicas = wanted or max(1, gpus // asked.gpus)
    if gpus > replicas * asked.gpus and wanted is None:
        log.warning("%d of %d GPUs are left over", gpus - replicas * asked.gpus, gpus)
    return replicas, asked.shape(gpus, replicas)


@dataclass(frozen=True, slots=True)
class RankPlacement:
    """What one of a launcher's ranks has to do."""

    shape: Shape
    gpus: Sequence[str]
    """For this rank's replica; none on a CPU machine."""
    ranks: Ranks
    ranks_per_replica: int = 1

    @property
    def leads(self) -> bool:
        """Whether this rank feeds a replica. If not, the replica of an earlier rank has its GPU."""
        return self.ranks.local_rank % self.ranks_per_replica == 0

    @property
    def replica(self) -> int:
        """This replica's number."""
        return self.ranks.rank // self.ranks_per_replica

    @property
    def leading_ranks(self) -> range:
        """The global ranks that feed replicas."""
        return range(0, self.ranks.world_size, self.ranks_per_replica)

    @property
    def local_processes(self) -> int:
        """Processes on this node that hold models or parts of them."""
        return self.ranks.local_world_size // self.ranks_per_replica * self.shape.processes


def take_seat(asked: Asked, ranks: Ranks, gpus: Sequence[str]) -> RankPlacement:
    """A rank's part in the run, which each finds out for itself and all in the same way.

    Where every rank has GPUs for a replica of its own (K times as many as ranks), each feeds one. With one rank per
    GPU, or without GPUs one rank per process of a tensor parallel replica, K consecutive ranks of a node stand for one
    replica: the first feeds it, the others are not needed.

    Raises:
        ConfigurationError: the node's ranks and GPUs can't be divided into replicas; names the numbers.
    """
    here, size = ranks.local_world_size, asked.gpus
    if sees_its_own(ranks, gpus):
        _check_own(size, ranks, len(gpus))
        return RankPlacement(asked.shape(len(gpus), 1), gpus[:size], ranks)
    shape = asked.shape(len(gpus), here)
    if size is not None and size > 1 and (here * size > len(gpus) if gpus else shape.processes > 1):
        _check_grouping(size, ranks, len(gpus))
        first = ranks.local_rank - ranks.local_rank % size
        if len(gpus) > here and ranks.rank == 0:
            log.warning(
                "%d of %d GPUs of a node are left over: %d processes share %d replica(s). Start one process per GPU, "
                "or one per replica",
                *(len(gpus) - here, len(gpus), here, here // size),
            )
        return RankPlacement(shape, gpus[first : first + size], ranks, size)
    if size is None and asked.spread and shape.gpus == 1 and len(gpus) > 1 and ranks.local_rank == 0:
        log.warning(
            "the model is to be spread over GPUs, but each of the %d processes on this node has one: start fewer "
            "processes, or say with --gpus-per-replica how many GPUs a replica takes",
            here,
        )
    return RankPlacement(shape, share(gpus, ranks.local_rank, here, size), ranks)


def _check_own(size: int | None, ranks: Ranks, gpus: int) -> None:
    if size is not None and size > gpus:
        raise ConfigurationError(
            f"--gpus-per-replica {size}: Slurm gave rank {ranks.rank} {gpus} GPU(s) of its own. Give each task {size} "
            "(--gpus-per-task), or let all tasks of a node see all its GPUs (--gpus-per-node with --gpu-bind=none)"
        )


def _check_grouping(size: int, ranks: Ranks, gpus: int) -> None:
    here = ranks.local_world_size
    have = f"the node of rank {ranks.rank} has {here} process(es)" + (f" and {gpus} GPU(s)" if gpus else "")
    if gpus and here > gpus:
        raise ConfigurationError(
            f"--gpus-per-replica {size}: {have} that this one sees. Start one process per GPU, or one per replica, and "
            "let every process see all GPUs of its node (with Slurm: --gpus-per-node with --gpu-bind=none)"
        )
    if here % size:
        fits = f", or {gpus // size} processes with {size} GPUs each" if gpus >= size else ""
        raise ConfigurationError(
            f"--gpus-per-replica {size} doesn't divide the {here} process(es) on a node: {have}. Start a multiple of "
            f"{size} per node{fits}"
        )
    if ranks.rank % size != ranks.local_rank % size:
        raise ConfigurationError(
            f"--gpus-per-replica {size}: rank {ranks.rank} is process {ranks.local_rank} of its node. Replicas of "
            "several ranks need ranks that are numbered node by node (srun --distribution=block, mpirun --map-by slot)"
        )
