"""What FSDP2 (`fully_shard`) needs around forward passes that no backward pass follows. Parts of it are not public.

Tried with torch 2.13.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


def sharded_modules(model: nn.Module) -> list[Any]:
    """The modules that `fully_shard` was applied to, outer ones first."""
    return [module for module in model.modules() if hasattr(module, "_get_fsdp_state")]


def gather_for_features(model: nn.Module) -> None:
    """Gather what FSDP2 gathers only when a module's forward runs, and `generate` uses before.

    transformers computes the features of images and videos by methods of their own, ahead of the first forward pass.
    """
    for module in _roots(model):
        module._get_fsdp_state()._lazy_init()  # or the first part whose forward runs would take itself for the root
    for module in sharded_modules(model):
        if any(name.startswith("get_") and name.endswith("_features") for name in dir(type(module))):
            module.unshard()


def forget_forward(model: nn.Module) -> None:
    """After an error in a forward pass: let the next one begin as if that had not been (torch 2.13 or newer)."""
    for module in _roots(model):
        if hasattr(module, "reset_iter_state"):
            module.reset_iter_state()


@contextmanager
def gathered_as_found(model: nn.Module) -> Iterator[None]:
    """Afterwards parameters are divided again, and passes that no backward follows are forgotten.

    FSDP2 keeps the root's parameters gathered after a forward pass, and notes each pass for the next backward, which
    would then gather the wrong ones ahead.
    """
    modules = sharded_modules(model)
    notes = [each for module in modules for each in notes_for_backward(module)]
    before = [list(each) for each in notes]
    try:
        yield
    finally:
        for module in modules:
            module.reshard()
        for each, contents in zip(notes, before, strict=True):
            each[:] = contents


def notes_for_backward(module: Any) -> list[list[Any]]:
    """The lists in which FSDP2 notes the forward passes of a module."""
    state = module._get_fsdp_state()
    groups = getattr(state, "_fsdp_param_groups", None) or [getattr(state, "_fsdp_param_group", None)]
    notes = [getattr(getattr(state, "_comm_ctx", None), "post_forward_order", None)]
    notes += [getattr(group, "_post_forward_indices", None) for group in groups]
    return [each for each in notes if isinstance(each, list)]


def _roots(model: nn.Module) -> list[Any]:
    """Those that lie in no other."""
    roots: list[Any] = []
    inside: set[int] = set()
    for module in sharded_modules(model):
        if id(module) not in inside:
            roots.append(module)
            inside.update(id(part) for part in module.modules())
    return roots
