"""Tiny models that see an image as a grid of as many patches as it has pixels for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from family_parts import (
    MROPE,
    chat,
    widen,
    words,
)
from tiny_models import (
    TEXT_SIZE,
    build_tokenizer,
    qwen_processor,
    qwen_token_ids,
    save,
    seeded,
    token_ids,
)


def build_qwen2_vl(folder: Path) -> None:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor

    seeded()
    tokenizer = build_tokenizer()
    config = Qwen2VLConfig(
        vision_config={
            "depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "patch_size": 8, "mlp_ratio": 2,
            "initializer_range": 0.5,
        },
        text_config={**TEXT_SIZE, **token_ids(tokenizer), "rope_parameters": MROPE},
        **qwen_token_ids(tokenizer),
    )  # fmt: skip
    save(
        Qwen2VLForConditionalGeneration(config),
        qwen_processor(Qwen2VLProcessor, tokenizer, patch_size=8),
        folder,
    )


QWEN_IDS = {
    "image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>",
}  # fmt: skip
GLM_IDS = {
    "image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>",
    "image_start_token_id": "<|vision_start|>", "image_end_token_id": "<|vision_end|>",
    "video_start_token_id": "<img>", "video_end_token_id": "</img>",
}  # fmt: skip
DEEP_VISION = {
    "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32, "patch_size": 8,
}  # fmt: skip
EXPERTS = {"moe_intermediate_size": 32, "num_experts": 2, "num_experts_per_tok": 1}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"], "head_dim": 16, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 2,
    "rope_parameters": {**MROPE, "mrope_section": [1, 1, 0], "partial_rotary_factor": 0.25},
}  # fmt: skip


def _qwen_like(
    folder: Path, processor: str, config: str, model: str, vision: Mapping[str, Any], text: Mapping[str, Any],
    ids: Mapping[str, str] | None = None, patch_size: int = 8, image: str = "<|image_pad|>", scale: float = 0.2,
) -> None:  # fmt: skip
    """What has Qwen2-VL's image processor."""
    import transformers

    from muster.models.transformers.processor import without_video

    seeded()
    tokenizer = build_tokenizer()
    side = 2 * patch_size
    images = transformers.Qwen2VLImageProcessorPil(
        patch_size=patch_size, min_pixels=side * side, max_pixels=9 * side * side, merge_size=2
    )
    made = without_video(getattr(transformers, processor))(
        images, tokenizer, chat_template=chat(f"<|vision_start|>{image}<|vision_end|>")
    )
    known = {name: tokenizer.convert_tokens_to_ids(token) for name, token in (ids or QWEN_IDS).items()}
    configuration = getattr(transformers, config)(
        vision_config=dict(vision), text_config={**TEXT_SIZE, **token_ids(tokenizer), **text}, **known
    )
    save(widen(getattr(transformers, model)(configuration), scale), made, folder)


def build_qwen3_vl_moe(folder: Path) -> None:
    _qwen_like(
        folder, "Qwen3VLProcessor", "Qwen3VLMoeConfig", "Qwen3VLMoeForConditionalGeneration",
        {**DEEP_VISION, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
        {"head_dim": 16, "rope_parameters": MROPE, **EXPERTS},
    )  # fmt: skip


def build_qwen3_5(folder: Path) -> None:
    """Qwen3.5: a state in place of a cache in most layers."""
    _qwen_like(
        folder, "Qwen3VLProcessor", "Qwen3_5Config", "Qwen3_5ForConditionalGeneration",
        {**DEEP_VISION, "num_position_embeddings": 16}, LINEAR,
    )  # fmt: skip


def build_qwen3_5_moe(folder: Path) -> None:
    _qwen_like(
        folder, "Qwen3VLProcessor", "Qwen3_5MoeConfig", "Qwen3_5MoeForConditionalGeneration",
        {**DEEP_VISION, "num_position_embeddings": 16},
        {**LINEAR, **EXPERTS, "shared_expert_intermediate_size": 32},
    )  # fmt: skip


def build_exaone4_5(folder: Path) -> None:
    _qwen_like(
        folder, "Exaone4_5_Processor", "Exaone4_5_Config", "Exaone4_5_ForConditionalGeneration",
        {**DEEP_VISION, "num_key_value_heads": 2, "window_size": 32, "fullatt_block_indexes": [1]},
        {"model_type": "exaone4", "sliding_window": None, "layer_types": ["full_attention"] * 2},
        {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"},
    )  # fmt: skip


def build_hyperclovax(folder: Path) -> None:
    _qwen_like(
        folder, "HyperCLOVAXVisionV2Processor", "HyperCLOVAXVisionV2Config",
        "HyperCLOVAXVisionV2ForConditionalGeneration",
        {**DEEP_VISION, "model_type": "qwen2_5_vl_vision", "window_size": 32, "fullatt_block_indexes": [1]},
        {"model_type": "granite"}, {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"},
    )  # fmt: skip


GLM_TEXT = {"rope_parameters": {**MROPE, "mrope_section": [2, 3, 3], "partial_rotary_factor": 1.0}}


def _glm_like(folder: Path, family: str, processor: str, text: Mapping[str, Any]) -> None:
    import transformers

    from muster.models.transformers.processor import without_video

    seeded()
    tokenizer = words(
        build_tokenizer(), "<|image|>", "<|video|>", "<|begin_of_image|>", "<|end_of_image|>",
        "<|begin_of_video|>", "<|end_of_video|>",
    )  # fmt: skip
    images = getattr(transformers, f"{processor}ImageProcessorPil")(
        patch_size=8, merge_size=2, size={"shortest_edge": 256, "longest_edge": 9 * 256 * 2}
    )
    made = without_video(getattr(transformers, f"{processor}Processor"))(
        images, tokenizer, chat_template=chat("<|begin_of_image|><|image|><|end_of_image|>")
    )
    names = {
        "image_token_id": "<|image|>", "video_token_id": "<|video|>", "image_start_token_id": "<|begin_of_image|>",
        "image_end_token_id": "<|end_of_image|>", "video_start_token_id": "<|begin_of_video|>",
        "video_end_token_id": "<|end_of_video|>",
    }  # fmt: skip
    configuration = getattr(transformers, f"{family}Config")(
        vision_config={**DEEP_VISION, "image_size": 32}, text_config={**TEXT_SIZE, **token_ids(tokenizer), **text},
        **{name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()},
    )  # fmt: skip
    save(widen(getattr(transformers, f"{family}ForConditionalGeneration")(configuration), 0.2), made, folder)


def build_glm4v(folder: Path) -> None:
    _glm_like(folder, "Glm4v", "Glm4v", GLM_TEXT)


def build_glm46v(folder: Path) -> None:
    _glm_like(folder, "Glm46V", "Glm46V", {"model_type": "glm4v_text", **GLM_TEXT})


def build_glm4v_moe(folder: Path) -> None:
    experts = {
        "moe_intermediate_size": 32, "num_experts_per_tok": 1, "n_routed_experts": 2, "n_shared_experts": 1,
        "head_dim": 16,
    }  # fmt: skip
    _glm_like(folder, "Glm4vMoe", "Glm4v", {**GLM_TEXT, **experts})
