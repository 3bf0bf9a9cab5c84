"""Leaving a model in training, and the process around it, as they were found."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from muster.live.fsdp2 import gathered_as_found

_PLACES = tuple(
    name
    for name, value in vars(nn.Module()).items()
    if isinstance(value, dict | set) and name not in ("_parameters", "_modules")
)
"""Where every module keeps its buffers and hooks. transformers, for one, adds hooks when they are first needed, and an
attribute that says so: either both stay, or none."""


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """The model ready to generate in this context, without gradients; afterwards everything is as it was.

    What is put back, also after an error: random states (Python, NumPy, torch on the CPU and on each GPU), every
    module's mode, its gradient checkpointing, generation settings and whatever else `generate` leaves in it, buffers
    that it replaces, parameters that FSDP has gathered. GPU memory that was only cached goes back to the driver.
    Nothing here calls `model.eval()`: what that does in some models (LoRA merges its weights) can't be taken back
    exactly.
    """
    with ExitStack() as later:
        later.callback(_let_go_of_memory)
        later.enter_context(_random_states())
        later.enter_context(gathered_as_found(model))
        later.enter_context(_modules(model))
        later.enter_context(torch.no_grad())
        yield


def _let_go_of_memory() -> None:
    if torch.is_autocast_cache_enabled():
        # What was cast without gradients must not be taken for what needs them.
        torch.clear_autocast_cache()
    torch.cuda.empty_cache()  # without effect where no GPU is in use


@contextmanager
def _random_states() -> Iterator[None]:
    used: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    gpus = range(torch.cuda.device_count()) if used else ()
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = [torch.cuda.get_rng_state(gpu) for gpu in gpus]
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        for gpu, state in zip(gpus, cuda, strict=True):
            torch.cuda.set_rng_state(state, gpu)


@contextmanager
def _modules(model: nn.Module) -> Iterator[None]:
    """Each module set for generation; then its attributes, buffers and hooks as they were."""
    modes = [(module, module.training) for module in model.modules()]
    others = [module for module in model.modules() if not _is_fsdp1(module)]
    gathers = len(others) < len(modes)
    before = [_Attributes(module, gathers) for module in others]
    try:
        for module in model.modules():
            module.training = False
            attributes = vars(module)
            if attributes.get("gradient_checkpointing"):
                attributes["gradient_checkpointing"] = False
            if (settings := attributes.get("generation_config")) is not None:
                settings = attributes["generation_config"] = copy.deepcopy(settings)
                settings.use_cache = True
        yield
    finally:
        for each in before:
            each.put_back()
        for module, training in modes:
            module.training = training


class _Attributes:
    """What a module has beside its parameters and its parts."""

    def __init__(self, module: nn.Module, gathers: bool) -> None:
        """`gathers`: FSDP1 puts tensors among the attributes, and takes them away itself."""
        self._module, self._gathers = module, gathers
        self._values = self._now()
        self._contents = [copy.copy(getattr(module, name)) for name in _PLACES]

    def put_back(self) -> None:
        for name in self._now().keys() - self._values.keys():
            del vars(self._module)[name]
        vars(self._module).update(self._values)
        for name, contents in zip(_PLACES, self._contents, strict=True):
            place = getattr(self._module, name)  # the same one: what removes a hook knows its place
            place.clear()
            place.update(contents)

    def _now(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in vars(self._module).items()
            if name not in ("_parameters", "_modules")
            and not (self._gathers and isinstance(value, torch.Tensor))
        }


def _is_fsdp1(module: nn.Module) -> bool:
    return any(base.__name__ == "FullyShardedDataParallel" for base in type(module).__mro__)
