"""Whether a replica fits on K GPUs, how its memory is divided among them, and which K to take. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from muster.core.choices import Parallelism
from muster.sizing.architecture import Architecture
from muster.sizing.memory import Demand, activation_bytes, cache_bytes
from muster.sizing.parameters import Parameters

PARALLELISMS: tuple[Parallelism, ...] = ("tensor", "device-map")
"""`tensor`: every layer is cut into K pieces, and K processes work at the same time. `device-map`: one process, whole
layers, one GPU works at a time."""

GIB = 2**30
CUDA_CONTEXT = 600 * 2**20
"""What a process takes on a GPU before it holds a tensor: context, kernels, cuBLAS workspaces. 400 to 600 MiB with
torch on A100 and H100."""
DRIVER_SHARE = 0.015
"""Of a GPU's memory as the driver reports it, what CUDA never gets: 80 GiB on an A100 are 79.2 for torch."""
COLLECTIVE_BUFFERS = 400 * 2**20
"""NCCL's buffers for a group of GPUs in one node."""
FRAGMENTATION = 0.2
"""Of cache and activations, which grow and shrink; weights are allocated once."""
MAP_SLACK = 1.25
"""Transformers lets a GPU of a balanced device map hold its even share and this many times the largest block."""
MAX_BATCH = 128
"""The backend's automatic batch size stops here."""


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs there are."""

    gpus: int
    """Per node."""
    gpu_memory: int
    """Bytes of one GPU (the smallest)."""
    nodes: int = 1


@dataclass(frozen=True, slots=True)
class Fit:
    """One way of placing a replica. Bytes are those of the fullest GPU."""

    gpus: int
    parallelism: Parallelism
    weights: int
    replicated: int
    """Of the weights, what every GPU of the replica holds whole."""
    cache: int
    activations: int
    overhead: int
    """The driver's share, the CUDA context, communication buffers and fragmentation."""
    gpu_memory: int
    largest_batch: int
    """Requests at the same time that fit; 0 where not even one does."""
    refusal: str = ""
    """Why this number of GPUs can't be, whatever their memory; empty otherwise."""

    @property
    def needed(self) -> int:
        """Bytes that the fullest GPU needs."""
        return self.weights + self.cache + self.activations + self.overhead

    @property
    def fits(self) -> bool:
        """Whether it can be, and there is room."""
        return not self.refusal and self.needed <= self.gpu_memory


def refusal(architecture: Architecture, gpus: int, parallelism: Parallelism) -> str:
    """Why a replica can't be divided among so many GPUs in this way; empty if it can."""
    text = architecture.text
    if parallelism == "device-map":
        return (
            f"is more than its {text.layers} layers, and each GPU holds whole ones"
            if gpus > text.layers
            else ""
        )
    if gpus == 1:
        return ""
    if not text.has_tensor_plan:
        return f"needs a tensor-parallel plan, and Muster knows of none for {text.model_type or 'this architecture'}"
    for number, name in ((text.heads, "attention heads"), (text.kv_heads, "key-value heads")):
        if number % gpus:
            return f"doesn't divide its {number} {name}"
    return ""


def place(
    architecture: Architecture,
    parameters: Parameters,
    demand: Demand,
    *,
    gpus: int,
    parallelism: Parallelism,
    gpu_memory: int,
) -> Fit:
    """Memory of a replica on `gpus` GPUs of `gpu_memory` bytes."""
    tensor = parallelism == "tensor"
    weights = parameters.sharded_bytes(gpus) if tensor else _mapped_weights(parameters, gpus)
    empty = Fit(
        gpus=gpus,
        parallelism=parallelism,
        weights=weights,
        replicated=parameters.replicated_bytes if tensor and gpus > 1 else 0,
        cache=0,
        activations=0,
        overhead=_fixed_overhead(gpu_memory, collective=tensor and gpus > 1),
        gpu_memory=gpu_memory,
        largest_batch=0,
        refusal=refusal(architecture, gpus, parallelism),
    )

    def at(batch: int) -> Fit:
        return _with_batch(empty, architecture, parameters.compute_bytes, replace(demand, batch=batch))

    low, high = 0, 0 if empty.refusal else MAX_BATCH  # the largest batch lies in [low, high]
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if at(middle).fits else (low, middle - 1)
    return replace(at(demand.batch), largest_batch=low)


def _fixed_overhead(gpu_memory: int, *, collective: bool) -> int:
    return CUDA_CONTEXT + int(DRIVER_SHARE * gpu_memory) + (COLLECTIVE_BUFFERS if collective else 0)


def _with_batch(empty: Fit, architecture: Architecture, size: int, demand: Demand) -> Fit:
    """The same with what a batch adds. `size`: bytes of a number."""
    text, gpus = architecture.text, empty.gpus
    split = gpus if empty.parallelism == "tensor" else 1
    cache = cache_bytes(text, size, demand.batch, demand.length, split=split)
    if empty.parallelism == "device-map":  # that of the layers that the fullest GPU holds
        cache = min(cache, cache * (-(-text.layers // gpus) + (gpus > 1)) // text.layers)
    activations = activation_bytes(architecture, size, demand, split=split)
    overhead = empty.overhead + int(FRAGMENTATION * (cache + activations))
    return replace(empty, cache=cache, activations=activations, overhead=overhead)


def _mapped_weights(parameters: Parameters, gpus: int) -> int:
    """What the fullest GPU holds of a balanced device map, at most."""
    total = parameters.loaded_bytes
    return total if gpus == 1 else min(total, total // gpus + int(MAP_SLACK * parameters.largest_block()))


@dataclass(frozen=True, slots=True)
class Choice:
    """What to run: replicas of K GPUs."""

    fit: Fit
    replicas: int
    """On all nodes."""
    idle_gpus: int
    """On all nodes, those that are left over."""

    @property
    def gpus_per_replica(self) -> int:
        """K."""
        return self.fit.gpus


def all_fits(
    architecture: Architecture,
    parameters: Parameters,
    demand: Demand,
    cluster: Gpus,
    parallelism: Parallelism | None = None,
) -> list[Fit]:
    """Every K up to a node's GPUs, in each way that is asked for (None: both). One GPU is the same in both."""
    ways = PARALLELISMS if parallelism is None else (parallelism,)
    return [
        place(architecture, parameters, demand, gpus=gpus, parallelism=way, gpu_memory=cluster.gpu_memory)
        for gpus in range(1, cluster.gpus + 1)
        for way in ways
        if gpus > 1 or way == ways[0]
    ]


def choose(fits: list[Fit], cluster: Gpus) -> Choice | None:
    """One GPU where that is enough, else the smallest K under tensor parallelism, else under a device map; or None.

    Tensor first, because all K GPUs then work at the same time. Where a larger K gives as many replicas and leaves
    fewer GPUs idle, that one: the room is free.
    """
    fitting = [fit for fit in fits if fit.fits]
    if not fitting:
        return None
    smallest = min(fitting, key=lambda fit: (fit.gpus > 1, PARALLELISMS.index(fit.parallelism), fit.gpus))
    replicas = cluster.gpus // smallest.gpus
    alike = [fit for fit in fitting if fit.parallelism == smallest.parallelism or smallest.gpus == 1]
    best = max((fit for fit in alike if cluster.gpus // fit.gpus == replicas), key=lambda fit: fit.gpus)
    idle = cluster.gpus - replicas * best.gpus
    return Choice(best, replicas * cluster.nodes, idle * cluster.nodes)
