"""Tiny models whose processors have their video part. Building one needs torchvision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tiny_models import (
    CHAT_TEMPLATE,
    TEXT_SIZE,
    VISION_SIZE,
    build_internvl,
    build_qwen2_5_vl,
    build_qwen3_vl,
    build_tokenizer,
    save,
    seeded,
    token_ids,
)

QWEN_SIZES = {"shortest_edge": 16 * 16, "longest_edge": 9 * 16 * 16 * 2 * 8}


def template(image: str, video: str) -> str:
    """The tests' chat template with a place for videos."""
    known = CHAT_TEMPLATE.replace("IMAGE", image)
    return known.replace("{% else %}", "{% elif part['type'] == 'video' %}" + video + "{% else %}", 1)


def _qwen(folder: Path, version: str) -> None:
    import transformers

    (build_qwen2_5_vl if version == "2_5_" else build_qwen3_vl)(folder)
    images = transformers.Qwen2VLImageProcessorPil(
        patch_size=8, min_pixels=256, max_pixels=9 * 256, merge_size=2
    )
    videos_class = (
        transformers.Qwen3VLVideoProcessor if version == "3" else transformers.Qwen2VLVideoProcessor
    )
    videos = videos_class(patch_size=8, merge_size=2, size=QWEN_SIZES)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    marks = [f"<|vision_start|><|{kind}_pad|><|vision_end|>" for kind in ("image", "video")]
    processor_class = transformers.Qwen3VLProcessor if version == "3" else transformers.Qwen2_5_VLProcessor
    processor_class(images, tokenizer, videos, chat_template=template(*marks)).save_pretrained(folder)


def _internvl(folder: Path) -> None:
    import transformers

    build_internvl(folder)
    images = transformers.GotOcr2ImageProcessorPil(
        size={"height": 16, "width": 16}, crop_to_patches=True, min_patches=1, max_patches=4
    )
    videos = transformers.InternVLVideoProcessor(size={"height": 16, "width": 16})
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    transformers.InternVLProcessor(
        images, tokenizer, videos, image_seq_length=1, chat_template=template("<IMG_CONTEXT>", "<video>")
    ).save_pretrained(folder)


def _llava_onevision(folder: Path) -> None:
    import transformers

    seeded()
    tokenizer = build_tokenizer()
    side = {"height": 16, "width": 16}
    images = transformers.LlavaOnevisionImageProcessorPil(
        size=side, image_grid_pinpoints=[[16, 16], [16, 32]]
    )
    processor: Any = transformers.LlavaOnevisionProcessor(
        images,
        tokenizer,
        transformers.LlavaOnevisionVideoProcessor(size=side),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=template("<image>", "<video>"),
    )
    config = transformers.LlavaOnevisionConfig(
        vision_config=transformers.SiglipVisionConfig(**VISION_SIZE, image_size=16, patch_size=8),
        text_config=transformers.Qwen2Config(**TEXT_SIZE, **token_ids(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=[[16, 16], [16, 32]],
        vision_feature_layer=-1,
    )
    save(transformers.LlavaOnevisionForConditionalGeneration(config), processor, folder)


VIDEO_FAMILIES: Mapping[str, Callable[[Path], None]] = {
    "qwen2_5_vl": lambda folder: _qwen(folder, "2_5_"),
    "qwen3_vl": lambda folder: _qwen(folder, "3"),
    "internvl": _internvl,
    "llava_onevision": _llava_onevision,
}
