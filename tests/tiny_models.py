"""Vision-language models of real architectures with random weights, small enough to build in a test.

Each builder writes a folder that the Auto classes load like any checkpoint: weights, processor, tokenizer and chat
template, all made on the spot. The weights are drawn wide, so that answers differ from question to question and
from image to image; a model that always says the same would let every batching bug through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

SPECIAL_TOKENS = [
    "<pad>",
    "<s>",
    "</s>",
    "<image>",
    "<video>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
    "<fake_token_around_image>",
    "<global-img>",
    "<end_of_utterance>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
]

BYTE_LEVEL_SPACES = ["\u0120", "\u010a"]
"""How byte-level tokenizers spell the space and the line feed."""

CHAT_TEMPLATE = (
    "{% for message in messages %}[{{ message['role'] }}] "
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)

TEXT_SIZE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.5,
}
VISION_SIZE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "initializer_range": 0.5,
}


class Family(NamedTuple):
    """What tests need to know about an architecture."""

    build: Callable[[Path], None]
    """Writes the model folder."""
    several_images: bool = True
    text_only: bool = True


def build_tokenizer(**extra_tokens: str) -> Any:
    """A tokenizer with every special token that the families want, and the printable ASCII characters as vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    characters = [
        character for character in sorted(pre_tokenizers.ByteLevel.alphabet()) if character.isascii()
    ]
    words = [*SPECIAL_TOKENS, *characters, *BYTE_LEVEL_SPACES]
    tokenizer = Tokenizer(models.BPE(vocab={word: index for index, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL_TOKENS)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens=extra_tokens,
    )


def save(model: Any, processor: Any, folder: Path) -> None:
    """Write both into `folder`, generation settings included."""
    tokenizer = processor.tokenizer
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def token_ids(tokenizer: Any) -> dict[str, int]:
    """The tokens that every text model is told of."""
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def seeded() -> None:
    """The same weights in every test run."""
    import torch

    torch.manual_seed(0)


def build_llava(folder: Path, text_config: Callable[..., Any] | None = None) -> None:
    """LLaVA: a fixed number of tokens per image. `text_config`: another language model's than LLaMA's."""
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    seeded()
    tokenizer = build_tokenizer(image_token="<image>")
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE.replace("IMAGE", "<image>"),
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION_SIZE, image_size=16, patch_size=8, projection_dim=32),
        text_config=(text_config or LlamaConfig)(**TEXT_SIZE, **token_ids(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        image_seq_length=4,
    )
    save(LlavaForConditionalGeneration(config), processor, folder)


def build_llava_next(folder: Path) -> None:
    """LLaVA-NeXT: the number of tiles depends on the image's shape."""
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextImageProcessorPil,
        LlavaNextProcessor,
    )

    seeded()
    grid = [[16, 32], [32, 16], [32, 32]]
    tokenizer = build_tokenizer(image_token="<image>")
    processor = LlavaNextProcessor(
        LlavaNextImageProcessorPil(
            size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}, image_grid_pinpoints=grid
        ),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE.replace("IMAGE", "<image>"),
    )
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**VISION_SIZE, image_size=16, patch_size=8, projection_dim=32),
        text_config=LlamaConfig(**TEXT_SIZE, **token_ids(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        image_grid_pinpoints=grid,
        image_seq_length=4,
    )
    save(LlavaNextForConditionalGeneration(config), processor, folder)


def build_idefics3(folder: Path) -> None:
    """Idefics3: images are split into rows and columns, and padded to the most in the batch."""
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
        LlamaConfig,
    )

    if "torchvision" in getattr(Idefics3ImageProcessorPil, "_backends", ()):
        pytest.skip("this transformers has Idefics3's images with torchvision only (5.24 without it, too)")
    seeded()
    tokenizer = build_tokenizer()
    processor = Idefics3Processor(
        Idefics3ImageProcessorPil(size={"longest_edge": 32}, max_image_size={"longest_edge": 16}),
        tokenizer,
        image_seq_len=1,
        chat_template=CHAT_TEMPLATE.replace("IMAGE", "<image>"),
    )
    config = Idefics3Config(
        vision_config={**VISION_SIZE, "image_size": 16, "patch_size": 8},
        text_config=LlamaConfig(**TEXT_SIZE, **token_ids(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    save(Idefics3ForConditionalGeneration(config), processor, folder)


def build_paligemma(folder: Path) -> None:
    """PaliGemma: no chat template, and a prefix in which every token sees every other."""
    from transformers import (
        GemmaConfig,
        PaliGemmaConfig,
        PaliGemmaForConditionalGeneration,
        PaliGemmaProcessor,
        SiglipImageProcessorPil,
        SiglipVisionConfig,
    )

    seeded()
    tokenizer = build_tokenizer(image_token="<image>")
    images = SiglipImageProcessorPil(size={"height": 16, "width": 16})
    images.image_seq_length = 4
    processor = PaliGemmaProcessor(images, tokenizer)
    config = PaliGemmaConfig(
        vision_config=SiglipVisionConfig(
            **VISION_SIZE, image_size=16, patch_size=8, projection_dim=32, vision_use_head=False
        ).to_dict(),
        text_config=GemmaConfig(**TEXT_SIZE, **token_ids(tokenizer), head_dim=16).to_dict(),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=32,
        hidden_size=32,
    )
    save(PaliGemmaForConditionalGeneration(config), processor, folder)


def qwen_token_ids(tokenizer: Any) -> dict[str, int]:
    """The vision tokens of Qwen's configurations."""
    names = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


def qwen_processor(processor_class: Any, tokenizer: Any, patch_size: int) -> Any:
    """A processor without a video part, which would ask for torchvision."""
    from transformers import Qwen2VLImageProcessorPil

    from muster.models.transformers.processor import without_video

    side = 2 * patch_size
    images = Qwen2VLImageProcessorPil(
        patch_size=patch_size, min_pixels=side * side, max_pixels=9 * side * side, merge_size=2
    )
    template = CHAT_TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    return without_video(processor_class)(images, tokenizer, chat_template=template)


def build_qwen2_5_vl(folder: Path) -> None:
    """Qwen2.5-VL: as many tokens as the image has pixels for, positions in three dimensions."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

    seeded()
    tokenizer = build_tokenizer()
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 32,
            "patch_size": 8,
            "window_size": 32,
            "fullatt_block_indexes": [1],
            "initializer_range": 0.5,
        },
        text_config={
            **TEXT_SIZE,
            **token_ids(tokenizer),
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0},
        },
        **qwen_token_ids(tokenizer),
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    save(model, qwen_processor(Qwen2_5_VLProcessor, tokenizer, patch_size=8), folder)


def build_qwen3_vl(folder: Path) -> None:
    """Qwen3-VL: vision features enter the language model at several depths."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

    seeded()
    tokenizer = build_tokenizer()
    config = Qwen3VLConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 32,
            "patch_size": 8,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
            "initializer_range": 0.5,
        },
        text_config={
            **TEXT_SIZE,
            **token_ids(tokenizer),
            "head_dim": 16,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0},
        },
        **qwen_token_ids(tokenizer),
    )
    model = Qwen3VLForConditionalGeneration(config)
    save(model, qwen_processor(Qwen3VLProcessor, tokenizer, patch_size=8), folder)


def build_internvl(folder: Path) -> None:
    """InternVL in the form native to transformers: tiles, and pixels shuffled into channels."""
    from transformers import (
        GotOcr2ImageProcessorPil,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        Qwen2Config,
    )

    from muster.models.transformers.processor import without_video

    seeded()
    tokenizer = build_tokenizer(
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    processor = without_video(InternVLProcessor)(
        GotOcr2ImageProcessorPil(
            size={"height": 16, "width": 16}, crop_to_patches=True, min_patches=1, max_patches=4
        ),
        tokenizer,
        image_seq_length=1,
        chat_template=CHAT_TEMPLATE.replace("IMAGE", "<IMG_CONTEXT>"),
    )
    config = InternVLConfig(
        vision_config={**VISION_SIZE, "image_size": [16, 16], "patch_size": [8, 8]},
        text_config=Qwen2Config(**TEXT_SIZE, **token_ids(tokenizer)).to_dict(),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=1,
        downsample_ratio=0.5,
    )
    save(InternVLForConditionalGeneration(config), processor, folder)


FAMILIES: Mapping[str, Family] = {
    "llava": Family(build_llava),
    "llava_next": Family(build_llava_next),
    "idefics3": Family(build_idefics3),
    "paligemma": Family(build_paligemma, text_only=False),
    "qwen2_5_vl": Family(build_qwen2_5_vl),
    "qwen3_vl": Family(build_qwen3_vl),
    "internvl": Family(build_internvl),
}

_built: dict[str, Path] = {}


def model_folder(family: str, factory: pytest.TempPathFactory) -> Path:
    """The folder of a family's model, built once per session."""
    if family not in _built:
        folder = factory.mktemp("tiny") / family
        FAMILIES[family].build(folder)
        _built[family] = folder
    return _built[family]
