"""Vision-language models of a known architecture with random weights, from its configuration alone: no download."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import torch

from muster.demo import demo_model_path
from muster.models.transformers.processor import without_video

Family: TypeAlias = Literal["qwen2_5_vl", "llava"]
SizeName: TypeAlias = Literal["tiny", "small", "7b"]


class Size(NamedTuple):
    """A model's dimensions; vision heads are 64 wide or less."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    """Qwen2.5-VL's; a LLaVA of LLaMA 2 has as many as heads."""
    vision_hidden: int
    vision_intermediate: int
    vision_layers: int
    vision_heads: int
    patch: int
    image: int
    """LLaVA's side in pixels."""
    most_pixels: int
    """Qwen2.5-VL's images are scaled down to as many."""
    sides: tuple[int, int]
    """Images are drawn with sides between these."""
    vocabulary: int


SIZES: dict[tuple[Family, SizeName], Size] = {
    # The interpreter takes the time, as it does around the kernels of a GPU.
    ("qwen2_5_vl", "tiny"): Size(64, 128, 4, 2, 2, 32, 64, 2, 2, 8, 0, 32 * 32 * 4, (16, 96), 0),
    ("llava", "tiny"): Size(64, 128, 4, 2, 2, 32, 64, 2, 2, 8, 32, 0, (16, 96), 0),
    # Kernels take the time, as far as one core goes.
    ("qwen2_5_vl", "small"): Size(512, 1376, 8, 8, 4, 128, 256, 4, 4, 14, 0, 28 * 28 * 16, (56, 336), 0),
    ("llava", "small"): Size(512, 1376, 8, 8, 8, 128, 512, 4, 4, 14, 112, 0, (56, 336), 0),
    # Qwen2.5-VL-7B-Instruct; LLaVA-1.5-7B with CLIP ViT-L/14 at 336 pixels.
    ("qwen2_5_vl", "7b"): Size(
        3584, 18944, 28, 28, 4, 1280, 3420, 32, 16, 14, 0, 28 * 28 * 1280, (224, 1344), 152_064
    ),
    ("llava", "7b"): Size(
        4096, 11008, 32, 32, 32, 1024, 4096, 24, 16, 14, 336, 0, (224, 1344), 32_064
    ),
}  # fmt: skip


def build(folder: Path, family: Family, size: Size, dtype: str, device: str) -> None:
    """Write weights drawn on `device`, a processor, and the demo model's tokenizer with the family's own tokens."""
    model_of, processor_of = FAMILIES[family]
    processor = processor_of(size)
    tokenizer = processor.tokenizer
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.device(device):
            model = model_of(tokenizer, size)
    finally:
        torch.set_default_dtype(before)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _qwen(tokenizer: Any, size: Size) -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    head = size.hidden // size.heads
    rotated = head // 2
    side = [rotated // 4, (rotated - rotated // 4) // 2]
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": size.vision_layers,
            "hidden_size": size.vision_hidden,
            "intermediate_size": size.vision_intermediate,
            "num_heads": size.vision_heads,
            "out_hidden_size": size.hidden,
            "patch_size": size.patch,
            "window_size": 8 * size.patch,
            "fullatt_block_indexes": list(
                range(
                    max(1, size.vision_layers // 4) - 1, size.vision_layers, max(1, size.vision_layers // 4)
                )
            ),
        },
        text_config={
            "hidden_size": size.hidden,
            "intermediate_size": size.intermediate,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.key_value_heads,
            "max_position_embeddings": 32_768,
            "vocab_size": max(size.vocabulary, len(tokenizer)),
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [side[0], side[1], rotated - sum(side)],
                "rope_theta": 1_000_000.0,
            },
            **_ids(tokenizer),
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def _ids(tokenizer: Any) -> dict[str, int]:
    return {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}


def _tokenizer(**special_tokens: str) -> Any:
    """The demo model's, with other special tokens."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    demo = AutoTokenizer.from_pretrained(demo_model_path())
    return PreTrainedTokenizerFast(
        tokenizer_object=demo.backend_tokenizer,
        bos_token=demo.bos_token,
        eos_token=demo.eos_token,
        pad_token=demo.pad_token,
        extra_special_tokens=special_tokens,
    )


def _qwen_processor(size: Size) -> Any:
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessorPil

    tokenizer = _tokenizer(image_token="<|image_pad|>", video_token="<|video_pad|>")
    tokenizer.add_tokens(["<|vision_start|>", "<|vision_end|>"], special_tokens=True)
    least = (2 * size.patch) ** 2
    images = Qwen2VLImageProcessorPil(
        patch_size=size.patch, min_pixels=4 * least, max_pixels=size.most_pixels, merge_size=2
    )
    template = _template("<|vision_start|><|image_pad|><|vision_end|>")
    return without_video(Qwen2_5_VLProcessor)(images, tokenizer, chat_template=template)


def _llava(tokenizer: Any, size: Size) -> Any:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=size.vision_hidden,
            intermediate_size=size.vision_intermediate,
            num_hidden_layers=size.vision_layers,
            num_attention_heads=size.vision_heads,
            image_size=size.image,
            patch_size=size.patch,
        ),
        text_config=LlamaConfig(
            hidden_size=size.hidden,
            intermediate_size=size.intermediate,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            num_key_value_heads=size.heads,
            max_position_embeddings=4096,
            vocab_size=max(size.vocabulary, len(tokenizer)),
            **_ids(tokenizer),
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
        image_seq_length=(size.image // size.patch) ** 2,
    )
    return LlavaForConditionalGeneration(config)


def _llava_processor(size: Size) -> Any:
    from transformers import CLIPImageProcessorPil, LlavaProcessor

    images = CLIPImageProcessorPil(
        size={"shortest_edge": size.image}, crop_size={"height": size.image, "width": size.image}
    )
    return LlavaProcessor(
        images,
        _tokenizer(image_token="<image>"),
        patch_size=size.patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_template("<image>"),
    )


def _template(image: str) -> str:
    return (
        "{% for message in messages %}{% for part in message['content'] %}"
        f"{{% if part['type'] == 'image' %}}{image}{{% else %}}{{{{ part['text'] }}}}{{% endif %}}"
        "{% endfor %}\n{% endfor %}"
    )


FAMILIES: dict[Family, tuple[Callable[[Any, Size], Any], Callable[[Size], Any]]] = {
    "qwen2_5_vl": (_qwen, _qwen_processor),
    "llava": (_llava, _llava_processor),
}
