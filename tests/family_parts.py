"""What tiny models of several families have in common."""

from __future__ import annotations

from typing import Any

from tiny_models import CHAT_TEMPLATE, TEXT_SIZE, VISION_SIZE, token_ids

IMAGE = "<image>"
SIDE = {"height": 16, "width": 16}


def chat(image: str = IMAGE) -> str:
    """The tests' chat template, with this text where an image goes."""
    return CHAT_TEMPLATE.replace("IMAGE", image)


def words(tokenizer: Any, *tokens: str) -> Any:
    """The same tokenizer, with more special tokens."""
    tokenizer.add_tokens(list(tokens), special_tokens=True)
    return tokenizer


def surrounded(tokenizer: Any, before: str = "<s>", after: str = "</s>") -> Any:
    """The same tokenizer, which puts special tokens around every text, as BERT's and BART's do."""
    from tokenizers.processors import TemplateProcessing

    parts = [token for token in (before, "$A", after) if token]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=" ".join(parts),
        pair=" ".join((*parts, "$B")),
        special_tokens=[
            (token, tokenizer.convert_tokens_to_ids(token)) for token in (before, after) if token
        ],
    )
    return tokenizer


def clip_images() -> Any:
    """Images of 16 by 16 pixels."""
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=SIDE)


def blip_images() -> Any:
    from transformers import BlipImageProcessorPil

    return BlipImageProcessorPil(size=SIDE)


def llama(tokenizer: Any, **more: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(**TEXT_SIZE, **token_ids(tokenizer), **more)


def siglip(**more: Any) -> Any:
    from transformers import SiglipVisionConfig

    return SiglipVisionConfig(**VISION_SIZE, image_size=16, patch_size=8, projection_dim=32, **more)


MROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
QFORMER = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "encoder_hidden_size": 32, "initializer_range": 0.5,
}  # fmt: skip
BLIP_VISION = {**VISION_SIZE, "image_size": 16, "patch_size": 8}


def widen(model: Any, deviation: float = 0.3) -> Any:
    """Draw all weights anew, where a family ignores the wished range or draws some with none."""
    import torch

    for name, value in model.named_parameters():
        if value.dim() > 1 or "bias" in name or "query" in name or "embedding" in name:
            with torch.no_grad():
                value.normal_(0, deviation)
    return model
