"""Which ranks hold one copy of a model between them: read off the model itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from muster.core import ConfigurationError
from muster.live.rank_group import Arrival


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of the model: a replica."""

    model: nn.Module
    """Without what wraps it for training (DDP, torch.compile, a DeepSpeed engine)."""
    ranks: tuple[int, ...]
    """Of the default process group, ascending; this process's is one of them. The first leads."""
    device: torch.device
    """Where inputs go."""
    wrapped: nn.Module | None = None
    """FSDP1's root, whose own parameters `generate` doesn't gather by itself."""


def find_copy(model: object, rank: int) -> Copy:
    """What this rank holds, and with whom. Raises `ConfigurationError` for what can't generate."""
    inner = unwrapped(model)
    _refuse_zero3(inner)
    fsdp1 = _fsdp1_modules(inner)
    root = inner if fsdp1 and fsdp1[0] is inner else None
    ranks = {rank}
    for module in fsdp1:
        ranks.update(dist.get_process_group_ranks(module.process_group))
    device: torch.device | None = fsdp1[0].compute_device if fsdp1 else None
    for mesh, sharded in _meshes(inner):
        ranks.update(_across(mesh, sharded))
        device = _mesh_device(mesh)
    return Copy(inner, tuple(sorted(ranks)), device or _device_of(inner), root)


def unwrapped(model: object) -> nn.Module:
    """The model that can generate, out of what wraps it for training. Raises `ConfigurationError`."""
    inner = model
    while isinstance(inner, nn.Module):
        if isinstance(inner, nn.parallel.DistributedDataParallel) or not callable(
            getattr(inner, "generate", None)
        ):
            within = getattr(inner, "module", None)
        else:
            within = getattr(inner, "_orig_mod", None)  # torch.compile's
        if not isinstance(within, nn.Module):
            break
        inner = within
    if not isinstance(inner, nn.Module):
        raise ConfigurationError(
            f"muster.evaluate: a {type(model).__name__} is neither a model's name or folder nor a torch module"
        )
    missing = [
        name for name in ("generate", "config", "generation_config") if getattr(inner, name, None) is None
    ]
    if missing:
        raise ConfigurationError(
            f"muster.evaluate: a {type(inner).__name__} has no {' and no '.join(missing)}: a live model must be one of "
            "transformers' that generates. Another kind is evaluated from a checkpoint, by a backend of your own"
        )
    return inner


def check_copies(arrivals: Mapping[int, Arrival]) -> list[int]:
    """The leading ranks. Raises `ConfigurationError` unless every rank belongs to the copy that it says it does."""
    for rank, arrival in arrivals.items():
        for other in arrival.copy:
            if other not in arrivals or arrivals[other].copy != arrival.copy:
                raise ConfigurationError(
                    f"rank {rank} holds its copy of the model with ranks {_listed(arrival.copy)}, and rank {other} "
                    f"with {_listed(arrivals[other].copy) if other in arrivals else 'none of these'}: all ranks must "
                    "evaluate the same model, divided in the same way"
                )
    return [rank for rank, arrival in arrivals.items() if arrival.copy[0] == rank]


def _listed(ranks: Sequence[int]) -> str:
    return ", ".join(map(str, ranks))


def _refuse_zero3(model: nn.Module) -> None:
    if any(hasattr(parameter, "ds_id") for parameter in model.parameters()):
        raise ConfigurationError(
            "muster.evaluate: this model is divided by DeepSpeed's ZeRO 3, which Muster can't drive from inside the "
            "job: save a checkpoint and evaluate that with `muster run`, or train with FSDP"
        )


def _fsdp1_modules(model: nn.Module) -> list[Any]:
    if not dist.is_available():
        return []
    from torch.distributed.fsdp import FullyShardedDataParallel

    return [module for module in model.modules() if isinstance(module, FullyShardedDataParallel)]


def _meshes(model: nn.Module) -> list[tuple[Any, tuple[bool, ...]]]:
    """The device meshes of the parameters, and by dimension whether something is divided along it."""
    if not (dist.is_available() and dist.is_initialized()):
        return []
    from torch.distributed.tensor import DTensor

    found: dict[tuple[Any, tuple[bool, ...]], None] = {}
    for parameter in model.parameters():
        if isinstance(parameter, DTensor):
            sharded = tuple(not placement.is_replicate() for placement in parameter.placements)
            found[parameter.device_mesh, sharded] = None
    return list(found)


def _across(mesh: Any, sharded: Sequence[bool]) -> list[int]:
    """The ranks of a mesh that differ from this one only along the dimensions that are divided."""
    here = mesh.get_coordinate()
    if here is None:
        raise ConfigurationError(
            "muster.evaluate: this rank has parameters of a device mesh that it is not in: a model whose layers are "
            "parted among ranks (a pipeline) is evaluated from a checkpoint, with `muster run`"
        )
    place = tuple(slice(None) if cut else at for cut, at in zip(sharded, here, strict=True))
    ranks: list[int] = mesh.mesh[place].flatten().tolist()
    return ranks


def _mesh_device(mesh: Any) -> torch.device:
    if mesh.device_type == "cuda":  # also where the parameters rest in the host's memory
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device(mesh.device_type)


def _device_of(model: nn.Module) -> torch.device:
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device
