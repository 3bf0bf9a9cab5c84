"""In the interpreters of the race: when the model is loaded, asked and has answered; what a machine without a GPU
lacks; and the model and dataset classes that a user of VLMEvalKit adds to it.

`RACE_MARKS` names the file of marks, a line each: unix seconds, process, what. `RACE_DEVICE` is `cpu` or `cuda`.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from typing import Any

COLLECTIVES = (
    *("barrier", "monitored_barrier", "gather", "gather_object", "all_gather", "all_gather_object"),
    *("all_gather_into_tensor", "broadcast_object_list"),
)

TRIALS: list[None] = []
"""Holds something while the model is only tried."""


def mark(what: str) -> None:
    """Write down that this happens now, unless it is no question of the race."""
    if TRIALS:
        return
    line = f"{time.time():.4f} {os.getpid()} {what}\n".encode()
    file = os.open(os.environ["RACE_MARKS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line)  # one write, so that the lines of several processes don't mix
    finally:
        os.close(file)


def marked(inner: Callable[..., Any], before: str, after: str) -> Callable[..., Any]:
    """The same function with a mark before and one after it, also where it raises."""

    @functools.wraps(inner)
    def outer(*args: Any, **options: Any) -> Any:
        mark(before)
        try:
            return inner(*args, **options)
        finally:
            mark(after)

    return outer


def modeling(module: Any) -> None:
    """`from_pretrained` of models. On a CPU weights are float32, whatever the caller has written into its code."""
    inner = module.PreTrainedModel.from_pretrained.__func__

    @functools.wraps(inner)
    def from_pretrained(cls: Any, *args: Any, **options: Any) -> Any:
        for name in ("dtype", "torch_dtype"):
            if os.environ["RACE_DEVICE"] == "cpu" and name in options:
                options[name] = "float32"
        return inner(cls, *args, **options)

    module.PreTrainedModel.from_pretrained = classmethod(marked(from_pretrained, "load", "loaded"))


def generation(module: Any) -> None:
    """`generate` of models."""
    module.GenerationMixin.generate = marked(module.GenerationMixin.generate, "ask", "answered")


def running_rows(module: Any) -> None:
    """Muster's rows that come and go: `generate` only begins them."""

    def told(inner: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        @functools.wraps(inner)
        def outer(*args: Any) -> list[Any]:
            ended = inner(*args)
            for _ in ended:
                mark("gave")
            return ended

        return outer

    module.RunningRows.join = told(module.RunningRows.join)
    module.RunningRows.step = told(module.RunningRows.step)


def trial(module: Any) -> None:
    """What Muster's backend asks while it is loaded is no question of the race."""
    inner = module.TransformersModel._try_out

    @functools.wraps(inner)
    def outer(*args: Any) -> Any:
        TRIALS.append(None)
        try:
            return inner(*args)
        finally:
            TRIALS.pop()

    module.TransformersModel._try_out = outer


def collectives(module: Any) -> None:
    """Where processes wait for each other. Without a GPU there is no NCCL."""
    for name in COLLECTIVES:
        setattr(module, name, marked(getattr(module, name), "meet", "met"))
    inner = module.init_process_group

    @functools.wraps(inner)
    def init_process_group(backend: Any = None, *args: Any, **options: Any) -> Any:
        if backend == "nccl" and os.environ["RACE_DEVICE"] == "cpu":
            backend = "gloo"
        return inner(backend, *args, **options)

    module.init_process_group = init_process_group


def own_dataset(module: Any) -> None:
    """VLMEvalKit's datasets get one more."""
    from race_vlmevalkit import dataset_class  # type: ignore[import-not-found, unused-ignore]

    module.RaceDataset = dataset_class(module)


def own_model(module: Any) -> None:
    """VLMEvalKit's models get one more."""
    from race_vlmevalkit import model_class

    module.RaceModel = model_class(module)


def vllm_loading(module: Any) -> None:
    """In an engine's process: the model is loaded."""
    module.BaseModelLoader.load_model = marked(module.BaseModelLoader.load_model, "load", "loaded")


def vllm_engine(module: Any) -> None:
    """A request of vLLM's engine, in the process that asks it."""
    inner = module.AsyncLLM.generate

    @functools.wraps(inner)
    async def generate(*args: Any, **options: Any) -> Any:
        mark("ask")
        try:
            async for output in inner(*args, **options):
                yield output
        finally:
            mark("answered")

    module.AsyncLLM.generate = generate


AFTER = {
    "transformers.modeling_utils": modeling,
    "transformers.generation.utils": generation,
    "torch.distributed.distributed_c10d": collectives,
    "muster.models.transformers.running": running_rows,
    "muster.models.transformers.backend": trial,
    "vllm.model_executor.model_loader.base_loader": vllm_loading,
    "vllm.v1.engine.async_llm": vllm_engine,
    "vlmeval.dataset": own_dataset,
    "vlmeval.vlm": own_model,
}


class After(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Calls the functions above as soon as their modules have been imported."""

    def __init__(self) -> None:
        self._loaders: dict[str, Any] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:  # noqa: ARG002
        """Of these modules, with this as their loader."""
        if name not in AFTER or name in self._loaders:
            return None
        self._loaders[name] = None
        spec: Any = importlib.util.find_spec(name)
        self._loaders[name], spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: Any) -> Any:
        """As its own loader does."""
        return self._loaders[spec.name].create_module(spec)

    def exec_module(self, module: Any) -> None:
        """Run it as its own loader does, then the function."""
        loader = self._loaders[module.__name__]
        module.__spec__.loader = module.__loader__ = loader
        loader.exec_module(module)
        AFTER[module.__name__](module)


if "RACE_MARKS" in os.environ:
    sys.meta_path.insert(0, After())
