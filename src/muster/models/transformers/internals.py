"""What is used of transformers that its documentation doesn't promise, and what is done where it has changed.

Every name stands here, with the part of the backend that needs it. They are looked up when a model is loaded: what a
part can do without is left out and said, anything else is refused with the version's name, before weights are read.
"""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import dataclass
from importlib import metadata
from typing import Literal, TypeAlias

from muster.core import ConfigurationError

Part: TypeAlias = Literal[
    "loading", "continuous batches", "image cache", "models with a chat method", "special tokens as text"
]

OLDEST, NEWEST = "5.17", "5.24"
"""The releases that the tests were run with; pyproject.toml allows these, and .ci/releases tries them."""


@dataclass(frozen=True, slots=True)
class Use:
    """One thing that is used."""

    part: Part
    module: str
    name: str
    """Of a class, a function or a value in the module, or `Class.attribute`."""
    parameters: tuple[str, ...] = ()
    """Those it is called with."""


USES = (
    # `loading`, `processor`, `generation_settings`
    Use("loading", "transformers.modeling_utils", "PreTrainedModel.from_pretrained", ("config", "kwargs")),
    Use("loading", "transformers", "GenerationConfig.from_model_config", ("model_config",)),
    Use("loading", "transformers.models.auto.processing_auto", "PROCESSOR_MAPPING_NAMES"),
    Use("loading", "transformers.models.auto.processing_auto", "processor_class_from_name", ("class_name",)),
    Use("loading", "transformers.processing_utils", "ProcessorMixin.get_attributes"),
    # (`tensor.division` sets `_tp_plan` of models' classes, in releases before 5.20 only)
    # `generation.prompts`: what `generate` begins with, without its decoding
    Use("continuous batches", "transformers", "GenerationMixin.generate", ("custom_generate",)),
    # `running`: one token for every row
    Use(
        "continuous batches",
        "transformers",
        "GenerationMixin.prepare_inputs_for_generation",
        ("input_ids", "next_sequence_length", "attention_mask", "is_first_iteration"),
    ),
    Use("continuous batches", "transformers.generation.utils", "MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL"),
    Use("continuous batches", "transformers", "RepetitionPenaltyLogitsProcessor", ("prompt_ignore_length",)),
    # `row_cache`: its own layers in transformers' cache
    Use("continuous batches", "transformers", "Cache", ("layers",)),
    Use(
        "continuous batches",
        "transformers.cache_utils",
        "DynamicLayer.lazy_initialization",
        ("key_states", "value_states"),
    ),
    Use(
        "continuous batches",
        "transformers.cache_utils",
        "DynamicLayer.update",
        ("key_states", "value_states"),
    ),
    Use("continuous batches", "transformers.cache_utils", "DynamicLayer.get_seq_length"),
    # `image_cache`: an output in place of the vision tower's
    Use("image cache", "transformers.modeling_outputs", "BaseModelOutputWithPooling", ("pooler_output",)),
    # `tokens_as_text`: the processor's `sanitize_control_tokens`, from 5.24 on
    Use(
        "special tokens as text",
        "transformers.utils.chat_template_utils",
        "encode_marked_chat",
        ("tokenizer", "chat"),
    ),
    # `chat.loading`
    Use(
        "models with a chat method",
        "transformers.dynamic_module_utils",
        "get_class_from_dynamic_module",
        ("class_reference", "pretrained_model_name_or_path"),
    ),
    Use("models with a chat method", "transformers.utils", "HF_MODULES_CACHE"),
)


def lacking(part: Part, uses: tuple[Use, ...] = USES) -> str | None:
    """What a part of the backend misses in the transformers that is installed, in a sentence; None: nothing."""
    import transformers

    gone = [found for use in uses if use.part == part and (found := _gone(use)) is not None]
    if not gone:
        return None
    return (
        f"transformers {transformers.__version__} has no {', no '.join(gone)}, which Muster's {part} need; {OLDEST} to "
        f"{NEWEST} are known to work"
    )


def need(part: Part) -> None:
    """Raise `ConfigurationError` where the transformers that is installed lacks what a part uses."""
    if (reason := lacking(part)) is not None:
        raise ConfigurationError(f"{reason}: install one of those")


def untried() -> str | None:
    """What to say of a transformers that the tests were not run with; None of one that they were."""
    version = metadata.version("transformers")
    oldest, newest, here = (
        tuple(map(int, re.findall(r"\d+", text)[:2])) for text in (OLDEST, NEWEST, version)
    )
    return None if oldest <= here <= newest else f"{version}; Muster was tested with {OLDEST} to {NEWEST}"


def _gone(use: Use) -> str | None:
    try:
        found = importlib.import_module(use.module)
        for name in use.name.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError):
        return f"{use.module}.{use.name}"
    if not use.parameters:
        return None
    try:
        known = inspect.signature(found).parameters  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return f"{use.module}.{use.name} that can be called"
    missing = [name for name in use.parameters if name not in known]
    return f"{missing[0]} in {use.module}.{use.name}" if missing else None
