"""Tiny models with a chat template that see an image as one square, or as tiles of one size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from family_parts import (
    IMAGE,
    SIDE,
    chat,
    clip_images,
    llama,
    siglip,
    surrounded,
    widen,
    words,
)
from tiny_models import (
    TEXT_SIZE,
    VISION_SIZE,
    build_tokenizer,
    save,
    seeded,
    token_ids,
)


def build_gemma3(folder: Path) -> None:
    """Gemma 3: sliding windows, and a placeholder that isn't the token which the image becomes."""
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3ImageProcessorPil,
        Gemma3Processor,
        Gemma3TextConfig,
    )

    seeded()
    tokenizer = build_tokenizer(image_token=IMAGE, boi_token="<img>", eoi_token="</img>")
    processor = Gemma3Processor(
        Gemma3ImageProcessorPil(size=SIDE), tokenizer, chat_template=chat("<img>"), image_seq_length=4
    )
    config = Gemma3Config(
        vision_config=siglip(vision_use_head=False),
        text_config=Gemma3TextConfig(
            **TEXT_SIZE, **token_ids(tokenizer), head_dim=16, sliding_window=16,
            layer_types=["sliding_attention", "full_attention"],
        ),
        mm_tokens_per_image=4, image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        boi_token_index=tokenizer.convert_tokens_to_ids("<img>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("</img>"), tie_word_embeddings=False,
    )  # fmt: skip
    save(Gemma3ForConditionalGeneration(config), processor, folder)


def build_janus(folder: Path) -> None:
    """Janus: a `generate` of its own, which asks transformers' for texts."""
    from transformers import (
        JanusConfig,
        JanusForConditionalGeneration,
        JanusImageProcessorPil,
        JanusProcessor,
    )

    seeded()
    tokenizer = build_tokenizer(image_token=IMAGE, boi_token="<img>", eoi_token="</img>")
    processor = JanusProcessor(
        JanusImageProcessorPil(size=SIDE, min_size=4), tokenizer, chat_template=chat(), num_image_tokens=4
    )
    config = JanusConfig(
        vision_config={
            **VISION_SIZE, "image_size": 16, "patch_size": 8, "projection_dim": 32, "mlp_ratio": 2.0,
            "num_image_tokens": 4,
        },
        text_config=llama(tokenizer),
        vq_config={
            "embed_dim": 4, "num_embeddings": 8, "latent_channels": 4, "base_channels": 32, "num_patches": 2,
            "channel_multiplier": [1, 1], "num_res_blocks": 1, "projection_dim": 32, "num_hidden_layers": 1,
            "image_token_embed_dim": 32,
        },
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
    )  # fmt: skip
    save(JanusForConditionalGeneration(config), processor, folder)


def build_aria(folder: Path) -> None:
    from transformers import (
        AriaConfig,
        AriaForConditionalGeneration,
        AriaImageProcessorPil,
        AriaProcessor,
        AriaTextConfig,
    )

    seeded()
    tokenizer = build_tokenizer(image_token=IMAGE)
    processor = AriaProcessor(
        AriaImageProcessorPil(), tokenizer, chat_template=chat(), size_conversion={490: 4, 980: 4}
    )
    config = AriaConfig(
        vision_config={"model_type": "idefics3_vision", **VISION_SIZE, "image_size": 980, "patch_size": 140},
        text_config=AriaTextConfig(
            **TEXT_SIZE, **token_ids(tokenizer), moe_num_experts=2, moe_topk=1, moe_num_shared_experts=1
        ),
        projector_patch_to_query_dict={49: 4},
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
    )
    save(widen(AriaForConditionalGeneration(config), 0.2), processor, folder)


def build_aya_vision(folder: Path) -> None:
    from transformers import (
        AyaVisionConfig,
        AyaVisionForConditionalGeneration,
        AyaVisionProcessor,
        Cohere2Config,
        GotOcr2ImageProcessorPil,
    )

    seeded()
    tokenizer = words(
        build_tokenizer(), "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>",
        "TILE", "TILE_GLOBAL", *(f"TILE_{n}" for n in range(1, 10)),
    )  # fmt: skip
    processor = AyaVisionProcessor(
        GotOcr2ImageProcessorPil(size={"height": 32, "width": 32}, crop_to_patches=True, max_patches=2),
        tokenizer, patch_size=8, img_size=32, downsample_factor=2, chat_template=chat(),
    )  # fmt: skip
    config = AyaVisionConfig(
        vision_config={"model_type": "siglip_vision_model", **VISION_SIZE, "image_size": 32, "patch_size": 8,
                       "vision_use_head": False},
        text_config=Cohere2Config(**TEXT_SIZE, **token_ids(tokenizer), sliding_window=16),
        downsample_factor=2, image_token_index=tokenizer.convert_tokens_to_ids("<|IMG_PATCH|>"),
        adapter_layer_norm_eps=1e-6,
    )  # fmt: skip
    save(AyaVisionForConditionalGeneration(config), processor, folder)


def build_idefics2(folder: Path) -> None:
    from transformers import (
        Idefics2Config,
        Idefics2ForConditionalGeneration,
        Idefics2ImageProcessorPil,
        Idefics2Processor,
        MistralConfig,
    )

    seeded()
    tokenizer = build_tokenizer()
    processor = Idefics2Processor(
        Idefics2ImageProcessorPil(size={"shortest_edge": 16, "longest_edge": 32}, do_image_splitting=False),
        tokenizer, image_seq_len=4, chat_template=chat(),
    )  # fmt: skip
    config = Idefics2Config(
        vision_config={**VISION_SIZE, "image_size": 32, "patch_size": 8},
        text_config=MistralConfig(**TEXT_SIZE, **token_ids(tokenizer), sliding_window=None),
        perceiver_config={
            "hidden_size": 32, "resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 2,
            "resampler_head_dim": 16, "num_key_value_heads": 2,
        },
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
    )  # fmt: skip
    save(widen(Idefics2ForConditionalGeneration(config), 0.2), processor, folder)


def _llava_like(folder: Path, config: str, model: str, tower: str = "clip_vision_model", **more: Any) -> None:
    """What has LLaVA's processor."""
    import transformers

    seeded()
    tokenizer = build_tokenizer(image_token=IMAGE)
    processor = transformers.LlavaProcessor(
        clip_images(), tokenizer, patch_size=8, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=chat(),
    )  # fmt: skip
    made = getattr(transformers, config)(
        vision_config={"model_type": tower, **VISION_SIZE, "image_size": 16, "patch_size": 8, "projection_dim": 32},
        text_config=llama(tokenizer), image_token_index=tokenizer.convert_tokens_to_ids(IMAGE), **more,
    )  # fmt: skip
    save(getattr(transformers, model)(made), processor, folder)


def build_vipllava(folder: Path) -> None:
    from transformers import VipLlavaConfig

    layers = next(
        name for name in ("vision_feature_layers", "vision_feature_layer") if hasattr(VipLlavaConfig(), name)
    )
    more: dict[str, Any] = {layers: [-2, -1], "image_seq_length": 4}
    _llava_like(folder, "VipLlavaConfig", "VipLlavaForConditionalGeneration", **more)


def build_llava_onevision(folder: Path) -> None:
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessorPil,
        LlavaOnevisionProcessor,
        Qwen2Config,
    )

    from muster.models.transformers.processor import without_video

    seeded()
    grid = [[16, 16], [16, 32], [32, 16]]
    tokenizer = build_tokenizer(image_token=IMAGE, video_token="<video>")
    processor = without_video(LlavaOnevisionProcessor)(
        LlavaOnevisionImageProcessorPil(size=SIDE, image_grid_pinpoints=grid), tokenizer, num_image_tokens=4,
        vision_feature_select_strategy="full", chat_template=chat(),
    )  # fmt: skip
    config = LlavaOnevisionConfig(
        vision_config=siglip(vision_use_head=False),
        text_config=Qwen2Config(**TEXT_SIZE, **token_ids(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"), image_grid_pinpoints=grid,
        vision_feature_layer=-1,
    )  # fmt: skip
    save(LlavaOnevisionForConditionalGeneration(config), processor, folder)


def build_deepseek_vl(folder: Path) -> None:
    from transformers import (
        DeepseekVLConfig,
        DeepseekVLForConditionalGeneration,
        DeepseekVLImageProcessorPil,
        DeepseekVLProcessor,
    )

    seeded()
    tokenizer = build_tokenizer(image_token=IMAGE)
    processor = DeepseekVLProcessor(
        DeepseekVLImageProcessorPil(size=SIDE, min_size=4),
        tokenizer,
        chat_template=chat(),
        num_image_tokens=4,
    )
    config = DeepseekVLConfig(
        vision_config=siglip(vision_use_head=False), text_config=llama(tokenizer),
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
    )  # fmt: skip
    save(DeepseekVLForConditionalGeneration(config), processor, folder)


def build_deepseek_vl_hybrid(folder: Path) -> None:
    from transformers import (
        DeepseekVLHybridConfig,
        DeepseekVLHybridForConditionalGeneration,
        DeepseekVLHybridImageProcessorPil,
        DeepseekVLHybridProcessor,
    )

    seeded()
    tokenizer = build_tokenizer(image_token=IMAGE)
    processor = DeepseekVLHybridProcessor(
        DeepseekVLHybridImageProcessorPil(size=SIDE, high_res_size={"height": 64, "width": 64}, min_size=4),
        tokenizer, chat_template=chat(), num_image_tokens=4,
    )  # fmt: skip
    config = DeepseekVLHybridConfig(
        vision_config=siglip(vision_use_head=False), text_config=llama(tokenizer),
        high_res_vision_config={
            "model_type": "sam_vision_model", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 64, "patch_size": 8, "output_channels": 16, "mlp_dim": 64, "window_size": 4,
            "global_attn_indexes": [1], "initializer_range": 0.5,
        },
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
    )  # fmt: skip
    save(widen(DeepseekVLHybridForConditionalGeneration(config), 0.2), processor, folder)


def build_mllama(folder: Path) -> None:
    """Llama 3.2 Vision: cross-attention to images, of which a row may have none."""
    from transformers import (
        MllamaConfig,
        MllamaForConditionalGeneration,
        MllamaImageProcessorPil,
        MllamaProcessor,
    )

    seeded()
    tokenizer = surrounded(words(build_tokenizer(), "<|image|>", "<|python_tag|>"), after="")
    processor = MllamaProcessor(
        MllamaImageProcessorPil(size=SIDE, max_image_tiles=2), tokenizer, chat_template=chat("<|image|>")
    )
    config = MllamaConfig(
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_global_layers": 1,
            "attention_heads": 2, "vision_output_dim": 64, "image_size": 16, "patch_size": 8, "max_num_tiles": 2,
            "intermediate_layers_indices": [0], "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
            "initializer_range": 0.5,
        },
        text_config={**TEXT_SIZE, **token_ids(tokenizer), "num_hidden_layers": 3, "cross_attention_layers": [1],
                     "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
        image_token_index=tokenizer.convert_tokens_to_ids("<|image|>"),
    )  # fmt: skip
    save(widen(MllamaForConditionalGeneration(config), 0.2), processor, folder)


OVIS = ["<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>"]


def build_ovis2(folder: Path) -> None:
    from transformers import (
        Ovis2Config,
        Ovis2ForConditionalGeneration,
        Ovis2ImageProcessorPil,
        Ovis2Processor,
        Qwen2Config,
    )

    seeded()
    tokenizer = words(build_tokenizer(), *OVIS, "<IMG_ATOM>")
    processor = Ovis2Processor(
        Ovis2ImageProcessorPil(size=SIDE, crop_to_patches=False),
        tokenizer,
        chat_template=chat(),
        image_seq_length=4,
    )
    config = Ovis2Config(
        vision_config={**VISION_SIZE, "image_size": 16, "patch_size": 8, "vocab_size": 16, "hidden_stride": 1},
        text_config=Qwen2Config(**TEXT_SIZE, **token_ids(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_ATOM>"), vocab_size=len(tokenizer), hidden_size=32,
        visual_indicator_token_ids=tokenizer.convert_tokens_to_ids(OVIS),
    )  # fmt: skip
    save(Ovis2ForConditionalGeneration(config), processor, folder)


def build_lighton_ocr(folder: Path) -> None:
    from transformers import (
        LightOnOcrConfig,
        LightOnOcrForConditionalGeneration,
        LightOnOcrProcessor,
        PixtralImageProcessorPil,
    )

    seeded()
    tokenizer = build_tokenizer(
        image_token=IMAGE, image_break_token="<row_1_col_1>", image_end_token="<row_1_col_2>"
    )
    processor = LightOnOcrProcessor(
        PixtralImageProcessorPil(size={"longest_edge": 32}, patch_size={"height": 8, "width": 8}), tokenizer,
        patch_size=8, spatial_merge_size=2, chat_template=chat(),
    )  # fmt: skip
    config = LightOnOcrConfig(
        vision_config={"model_type": "pixtral", **VISION_SIZE, "image_size": 32, "patch_size": 8},
        text_config={"model_type": "qwen3", **TEXT_SIZE, **token_ids(tokenizer), "head_dim": 16},
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE), spatial_merge_size=2,
    )  # fmt: skip
    save(widen(LightOnOcrForConditionalGeneration(config), 0.2), processor, folder)
