"""A live model in the form that the transformers backend works with."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch

from muster.core import ConfigurationError
from muster.core.choices import RequestedBatch
from muster.live.copies import Copy
from muster.live.fsdp2 import forget_forward, gather_for_features
from muster.live.in_step import InStep, Leading
from muster.models.transformers.backend import TransformersModel
from muster.models.transformers.batch_size import CPU_BATCH, BatchSize
from muster.models.transformers.generation import Generator
from muster.models.transformers.generation_settings import settle
from muster.models.transformers.interfaces import (
    ModelConfig,
    Processor,
    VisionLanguageModel,
)
from muster.models.transformers.loading import Loaded, context_limit
from muster.models.transformers.processor import pad_for_generation
from muster.models.transformers.tensor.lockstep import SharedChoice

GPU_BATCH = 8
"""Of `auto`. It is not found out by trying here, because that would reset the job's own record of peak memory."""


class LiveModel:
    """Implements `VisionLanguageModel`: generates without gradients, and gathers what FSDP1 doesn't by itself."""

    def __init__(self, held: Copy) -> None:
        self._held = held
        self._model = model = cast("Any", held.model)
        self.config: ModelConfig = model.config
        self.generation_config: object = model.generation_config

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        return self._held.device

    @property
    def dtype(self) -> torch.dtype:
        """What pixels are converted to."""
        return cast("torch.dtype", self._model.dtype)

    def generate(self, **inputs: object) -> torch.Tensor:
        """See `VisionLanguageModel`.

        Not in inference mode: FSDP2 refuses it, and a tensor that a model keeps from it can't be trained with.
        """
        # Muster keeps the ranks of a copy in step. transformers would keep all ranks of the job in step when it sees
        # FSDP, the other copies' too, of which one may have nothing to do.
        inputs["synced_gpus"] = False
        with torch.inference_mode(False), torch.no_grad(), self._gathered():
            gather_for_features(self._held.model)
            try:
                output: torch.Tensor = self._model.generate(**inputs)
            except Exception:
                forget_forward(self._held.model)
                raise
        return output

    def _gathered(self) -> AbstractContextManager[None]:
        if self._held.wrapped is None:
            return nullcontext()
        from torch.distributed.fsdp import FullyShardedDataParallel

        gathered: AbstractContextManager[None] = FullyShardedDataParallel.summon_full_params(
            self._held.wrapped, writeback=False, recurse=False
        )
        return gathered


class LiveMemory:
    """Implements `DeviceMemory` without touching what the job measures."""

    def begin(self) -> None:
        """Nothing to note."""

    def room_for_twice(self) -> bool:
        """Never: nobody has measured."""
        return False

    def release(self) -> None:
        """Give cached blocks back after running out."""
        torch.cuda.empty_cache()  # without effect where no GPU is in use


def load_live(held: Copy, processor: Processor) -> Loaded:
    """The model with a processor of its own. Only inside `restored`, because generation settings are changed.

    Raises:
        ConfigurationError: the processor can't be copied.
    """
    try:
        # Padding is state of a tokenizer, and the job's data loader has it too.
        own = copy.deepcopy(processor)
    except Exception as error:
        raise ConfigurationError(
            f"processor: a {type(processor).__name__} can't be copied: {error}"
        ) from error
    prepared = pad_for_generation(own, encoder=cast("Any", held.model).config.is_encoder_decoder)
    # Batches are static, which is all that is asked of it.
    model = cast("VisionLanguageModel", LiveModel(held))
    ends = settle(model.generation_config, prepared.tokenizer, {})
    return Loaded(model, prepared, context_limit(held.model), (held.device,), ends)


def leader(loaded: Loaded, batch_size: RequestedBatch, group: InStep | None) -> TransformersModel:
    """The replica's model for a worker to run: alone, or with the ranks that follow it."""
    size = (
        (GPU_BATCH if loaded.input_device.type != "cpu" else CPU_BATCH)
        if batch_size == "auto"
        else batch_size
    )
    tokenizer = copy.deepcopy(loaded.processor.tokenizer)
    generator = (
        Generator(loaded, tokenizer)
        if group is None
        else Leading(Generator(loaded, tokenizer, [SharedChoice(group.share)]), group)
    )
    return TransformersModel.of_loaded(loaded, generator, LiveMemory(), BatchSize(size, size))


def follower(loaded: Loaded, group: InStep) -> Generator:
    """What `follow` runs."""
    return Generator(loaded, loaded.processor.tokenizer, [SharedChoice(group.share)])
