"""The parts of transformers' objects that this backend relies on, as types."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from muster.core import JSON

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

Conversation: TypeAlias = "list[dict[str, JSON]]"
"""Chat messages as chat templates read them; images are placeholders."""


class Tokenizer(Protocol):
    """A tokenizer."""

    padding_side: str
    pad_token: str | None
    pad_token_id: int | None
    bos_token: str | None
    eos_token: str | None
    eos_token_id: int | None
    chat_template: str | None

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        """Text of tokens."""
        ...

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text."""
        ...

    def convert_tokens_to_ids(self, tokens: str) -> int:
        """The id of a token."""
        ...

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        """The tokens of ids."""
        ...

    def apply_chat_template(
        self, conversation: Conversation, *, add_generation_prompt: bool, tokenize: bool
    ) -> str:
        """The prompt's text, a placeholder where each image goes."""
        ...


class Processor(Protocol):
    """A processor: chat template, tokenizer and image processor in one."""

    tokenizer: Tokenizer
    chat_template: str | None

    def apply_chat_template(
        self, conversation: Conversation, *, add_generation_prompt: bool, tokenize: bool
    ) -> str:
        """The prompt's text, a placeholder where each image goes."""
        ...

    def __call__(
        self,
        *,
        text: list[str],
        images: Sequence[Image] | Sequence[Sequence[Image]] | None,
        return_tensors: str,
        **more: object,
    ) -> MutableMapping[str, torch.Tensor]:
        """The model's inputs for a batch of prompts; one list of images per prompt, all videos in one."""
        ...


class ModelConfig(Protocol):
    """The parts of a model's config that are read."""

    is_encoder_decoder: bool

    def get_text_config(self) -> object:
        """The language model's part."""
        ...


class ModelOutput(Protocol):
    """What is read of a call of the model."""

    logits: torch.Tensor
    """(rows, tokens or the last one, vocabulary)"""


class VisionLanguageModel(Protocol):
    """A model that generates."""

    config: ModelConfig
    generation_config: object

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """What pixels are converted to."""
        ...

    def generate(self, **inputs: object) -> torch.Tensor:
        """Token ids; of a decoder-only model the prompts come first."""
        ...

    def prepare_inputs_for_generation(self, input_ids: torch.Tensor, **inputs: object) -> dict[str, object]:
        """What `generate` would call the model with: for prompts (`is_first_iteration`), or for the latest tokens."""
        ...

    def __call__(self, **inputs: object) -> ModelOutput:
        """Run the model once."""
        ...


Inputs: TypeAlias = "Mapping[str, torch.Tensor]"
