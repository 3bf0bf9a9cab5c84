"""What transformers assumes where a config.json is silent.

Configurations used to be saved as the difference from their class's defaults: that of LLaVA-1.5 7B doesn't say how
many layers its Llama has. These are the defaults of the classes, by `model_type`; tests/test_sizing_architecture.py
compares them with transformers.
"""

from __future__ import annotations

from typing import Final

_GEMMA3 = {
    "num_hidden_layers": 26, "hidden_size": 2304, "intermediate_size": 9216, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262208, "max_position_embeddings": 131072,
    "sliding_window": 4096,
}  # fmt: skip
_QWEN_VL = {
    "num_hidden_layers": 80, "hidden_size": 8192, "intermediate_size": 29568, "num_attention_heads": 64,
    "num_key_value_heads": 8, "vocab_size": 152064, "max_position_embeddings": 32768,
}  # fmt: skip

TEXT: Final[dict[str, dict[str, int]]] = {
    "llama": {
        "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32,
        "vocab_size": 32000, "max_position_embeddings": 2048,
    },
    "mistral": {
        "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 131072, "sliding_window": 4096,
    },
    "mixtral": {
        "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 131072, "num_experts_per_tok": 2,
    },
    "qwen2": {
        "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 22016, "num_attention_heads": 32,
        "num_key_value_heads": 32, "vocab_size": 151936, "max_position_embeddings": 32768,
    },
    "qwen2_vl_text": _QWEN_VL,
    "qwen2_5_vl_text": _QWEN_VL,
    "qwen3": {
        "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 22016, "num_attention_heads": 32,
        "num_key_value_heads": 32, "head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 32768,
    },
    "qwen3_vl_text": {
        "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 22016, "num_attention_heads": 32,
        "num_key_value_heads": 32, "head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 128000,
    },
    "qwen3_vl_moe_text": {
        "num_hidden_layers": 24, "hidden_size": 2048, "intermediate_size": 5632, "num_attention_heads": 16,
        "num_key_value_heads": 16, "vocab_size": 151936, "max_position_embeddings": 128000,
        "moe_intermediate_size": 1408, "num_experts_per_tok": 4,
    },
    "gemma": {
        "num_hidden_layers": 28, "hidden_size": 3072, "intermediate_size": 24576, "num_attention_heads": 16,
        "num_key_value_heads": 16, "head_dim": 256, "vocab_size": 256000, "max_position_embeddings": 8192,
    },
    "gemma2": {
        "num_hidden_layers": 26, "hidden_size": 2304, "intermediate_size": 9216, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 256000, "max_position_embeddings": 8192,
        "sliding_window": 4096,
    },
    "gemma3_text": _GEMMA3,
}  # fmt: skip
"""Language models."""

_ENCODER = {"num_hidden_layers": 12, "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
_IDEFICS3 = {**_ENCODER, "hidden_size": 1152, "num_attention_heads": 16, "patch_size": 32, "image_size": 224}
_QWEN3_VISION = {
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_heads": 16,
    "patch_size": 16,
}

VISION: Final[dict[str, dict[str, int]]] = {
    "clip_vision_model": {**_ENCODER, "patch_size": 32, "image_size": 224},
    "siglip_vision_model": {**_ENCODER, "patch_size": 16, "image_size": 224},
    "idefics3_vision": _IDEFICS3,
    "smolvlm_vision": _IDEFICS3,
    "internvl_vision": {
        "num_hidden_layers": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16,
        "patch_size": 14, "image_size": 448,
    },
    "qwen2_vl_vision": {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "patch_size": 14},
    "qwen2_5_vl_vision": {
        "depth": 32, "hidden_size": 3584, "intermediate_size": 3420, "num_heads": 16, "patch_size": 14,
    },
    "qwen3_vl_vision": _QWEN3_VISION,
    "qwen3_vl_moe_vision": _QWEN3_VISION,
}  # fmt: skip
"""Vision towers."""

PARTS: Final[dict[str, tuple[str, str]]] = {
    "llava": ("llama", "clip_vision_model"),
    "llava_next": ("llama", "clip_vision_model"),
    "qwen2_vl": ("qwen2_vl_text", "qwen2_vl_vision"),
    "qwen2_5_vl": ("qwen2_5_vl_text", "qwen2_5_vl_vision"),
    "qwen3_vl": ("qwen3_vl_text", "qwen3_vl_vision"),
    "qwen3_vl_moe": ("qwen3_vl_moe_text", "qwen3_vl_moe_vision"),
    "internvl": ("qwen2", "internvl_vision"),
    "idefics3": ("llama", "idefics3_vision"),
    "smolvlm": ("llama", "smolvlm_vision"),
    "paligemma": ("gemma", "siglip_vision_model"),
    "gemma3": ("gemma3_text", "siglip_vision_model"),
}
"""Language model and vision tower of a family, where its parts don't name their own `model_type`."""

TENSOR_PARALLEL: Final = frozenset(TEXT) - {"qwen3_vl_text"}
"""Language models for which transformers (5.23) has a tensor-parallel plan, with the names of layers that
`parameters.py` knows. The dense Qwen3-VL has none."""
