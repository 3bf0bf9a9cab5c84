"""Model folders of the real sizes without their weights: configurations, and safetensors files that are only headers.

The files are sparse: as long as the real ones, and empty. The configurations are those of the checkpoints on the hub,
down to what they leave out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Shapes = dict[str, tuple[int, ...]]
BYTES = {"F32": 4, "BF16": 2, "F16": 2, "I32": 4, "U8": 1, "I64": 8, "F8_E4M3": 1}

CLIP_L_336 = {
    "model_type": "clip_vision_model", "hidden_size": 1024, "image_size": 336, "intermediate_size": 4096,
    "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768, "vocab_size": 32000,
}  # fmt: skip
PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]

LLAVA_NEXT_34B: dict[str, Any] = {
    "architectures": ["LlavaNextForConditionalGeneration"], "model_type": "llava_next",
    "image_grid_pinpoints": PINPOINTS,
    "image_token_index": 64003, "projector_hidden_act": "gelu", "tie_word_embeddings": False, "torch_dtype": "float16",
    "text_config": {
        "_name_or_path": "NousResearch/Nous-Hermes-2-Yi-34B", "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "eos_token_id": 7, "hidden_size": 7168, "intermediate_size": 20480, "max_position_embeddings": 4096,
        "num_attention_heads": 56, "num_hidden_layers": 60, "num_key_value_heads": 8, "pad_token_id": 0,
        "rms_norm_eps": 1e-05, "rope_theta": 5000000.0, "torch_dtype": "bfloat16", "vocab_size": 64064,
    },
    "use_image_newline_parameter": True, "vision_config": CLIP_L_336, "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default", "vocab_size": 64064,
}  # fmt: skip

LLAVA_1_5_7B: dict[str, Any] = {
    "architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "image_token_index": 32000,
    "tie_word_embeddings": False, "torch_dtype": "float16", "vision_config": CLIP_L_336, "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
    "text_config": {
        "_name_or_path": "lmsys/vicuna-7b-v1.5", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 4096,
        "model_type": "llama", "rms_norm_eps": 1e-05, "torch_dtype": "float16", "vocab_size": 32064,
    },
}  # fmt: skip
"""Says neither layers nor heads nor widths: they are Llama's defaults."""


def qwen2_5_vl(
    hidden: int, mlp: int, layers: int, heads: int, kv: int, vocabulary: int, *, tied: bool
) -> dict[str, Any]:
    """Flat, as on the hub: the language model's settings stand at the top."""
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl", "torch_dtype": "bfloat16",
        "hidden_size": hidden, "intermediate_size": mlp, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv, "max_position_embeddings": 128000, "vocab_size": vocabulary,
        "tie_word_embeddings": tied, "sliding_window": 32768, "use_sliding_window": False,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}, "rope_theta": 1000000.0,
        "vision_config": {
            "depth": 32, "hidden_act": "silu", "hidden_size": 1280,
            "intermediate_size": 3456 if hidden == 8192 else 3420,
            "num_heads": 16, "in_chans": 3, "out_hidden_size": hidden, "patch_size": 14, "spatial_merge_size": 2,
            "spatial_patch_size": 14, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31],
            "tokens_per_second": 2, "temporal_patch_size": 2,
        },
    }  # fmt: skip


QWEN2_5_VL_3B = qwen2_5_vl(2048, 11008, 36, 16, 2, 151936, tied=True)
QWEN2_5_VL_7B = qwen2_5_vl(3584, 18944, 28, 28, 4, 152064, tied=False)
QWEN2_5_VL_72B = qwen2_5_vl(8192, 29568, 80, 64, 8, 152064, tied=False)

QWEN2_VL_7B: dict[str, Any] = {
    "architectures": ["Qwen2VLForConditionalGeneration"], "model_type": "qwen2_vl", "torch_dtype": "bfloat16",
    "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "max_position_embeddings": 32768, "vocab_size": 152064, "tie_word_embeddings": False,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "vision_config": {
        "depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "in_chans": 3, "hidden_size": 3584,
        "patch_size": 14, "spatial_merge_size": 2, "spatial_patch_size": 14, "temporal_patch_size": 2,
    },
}  # fmt: skip

QWEN3_VL_VISION = {
    "deepstack_visual_indexes": [8, 16, 24], "depth": 27, "hidden_size": 1152, "in_channels": 3,
    "intermediate_size": 4304, "model_type": "qwen3_vl", "num_heads": 16, "num_position_embeddings": 2304,
    "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2,
}  # fmt: skip
QWEN3_VL_8B: dict[str, Any] = {
    "architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl", "tie_word_embeddings": False,
    "text_config": {
        "dtype": "bfloat16", "head_dim": 128, "hidden_size": 4096, "intermediate_size": 12288,
        "max_position_embeddings": 262144, "model_type": "qwen3_vl_text", "num_attention_heads": 32,
        "num_hidden_layers": 36, "num_key_value_heads": 8, "vocab_size": 151936,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"},
    },
    "vision_config": {**QWEN3_VL_VISION, "out_hidden_size": 4096},
}  # fmt: skip
QWEN3_VL_30B_A3B: dict[str, Any] = {
    "architectures": ["Qwen3VLMoeForConditionalGeneration"], "model_type": "qwen3_vl_moe", "tie_word_embeddings": False,
    "text_config": {
        "dtype": "bfloat16", "head_dim": 128, "hidden_size": 2048, "intermediate_size": 6144,
        "max_position_embeddings": 262144, "model_type": "qwen3_vl_moe_text", "moe_intermediate_size": 768,
        "num_attention_heads": 32, "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48,
        "num_key_value_heads": 4, "vocab_size": 151936, "tie_word_embeddings": False,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"},
    },
    "vision_config": {**QWEN3_VL_VISION, "model_type": "qwen3_vl_moe", "out_hidden_size": 2048},
}  # fmt: skip


def internvl(text: dict[str, Any], vision: dict[str, Any]) -> dict[str, Any]:
    """The transformers-native form (`…-hf`)."""
    return {
        "architectures": ["InternVLForConditionalGeneration"], "model_type": "internvl", "downsample_ratio": 0.5,
        "image_seq_length": 256, "image_token_id": 151667, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
        "text_config": {"model_type": "qwen2", "tie_word_embeddings": False, **text},
        "vision_config": {
            "model_type": "internvl_vision", "image_size": [448, 448], "patch_size": [14, 14], "attention_bias": True,
            **vision,
        },
        "vision_feature_layer": -1, "vision_feature_select_strategy": "default",
    }  # fmt: skip


INTERNVL3_8B = internvl(
    {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
     "num_key_value_heads": 4, "vocab_size": 151674, "max_position_embeddings": 32768},
    {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
)  # fmt: skip
INTERNVL3_78B = internvl(
    {"hidden_size": 8192, "intermediate_size": 29568, "num_hidden_layers": 80, "num_attention_heads": 64,
     "num_key_value_heads": 8, "vocab_size": 151674, "max_position_embeddings": 32768},
    {"hidden_size": 3200, "intermediate_size": 12800, "num_hidden_layers": 45, "num_attention_heads": 25,
     "attention_bias": False, "use_qk_norm": True, "norm_type": "rms_norm"},
)  # fmt: skip

IDEFICS3_8B: dict[str, Any] = {
    "architectures": ["Idefics3ForConditionalGeneration"], "model_type": "idefics3", "scale_factor": 2,
    "image_token_id": 128257, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "text_config": {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "max_position_embeddings": 131072,
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 128259,
    },
    "vision_config": {
        "model_type": "idefics3", "hidden_size": 1152, "image_size": 364, "intermediate_size": 4304,
        "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14,
    },
}  # fmt: skip
SMOLVLM: dict[str, Any] = {
    "architectures": ["SmolVLMForConditionalGeneration"], "model_type": "smolvlm", "scale_factor": 3,
    "image_token_id": 49153, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "text_config": {
        "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "max_position_embeddings": 16384,
        "num_attention_heads": 32, "num_hidden_layers": 24, "num_key_value_heads": 32, "vocab_size": 49155,
    },
    "vision_config": {
        "model_type": "smolvlm_vision", "hidden_size": 1152, "image_size": 384, "intermediate_size": 4304,
        "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14,
    },
}  # fmt: skip
PALIGEMMA_3B: dict[str, Any] = {
    "architectures": ["PaliGemmaForConditionalGeneration"], "model_type": "paligemma", "projection_dim": 2048,
    "hidden_size": 2048, "image_token_index": 257152, "torch_dtype": "float32", "pad_token_id": 0,
    "text_config": {
        "hidden_size": 2048, "intermediate_size": 16384, "model_type": "gemma", "num_attention_heads": 8,
        "num_hidden_layers": 18, "num_image_tokens": 256, "num_key_value_heads": 1, "torch_dtype": "float32",
        "vocab_size": 257216,
    },
    "vision_config": {
        "hidden_size": 1152, "intermediate_size": 4304, "model_type": "siglip_vision_model", "num_attention_heads": 16,
        "num_hidden_layers": 27, "num_image_tokens": 256, "patch_size": 14, "projection_dim": 2048,
        "projector_hidden_act": "gelu_fast", "torch_dtype": "float32", "vision_use_head": False,
    },
}  # fmt: skip
GEMMA3_27B: dict[str, Any] = {
    "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "mm_tokens_per_image": 256,
    "image_token_index": 262144, "torch_dtype": "bfloat16",
    "text_config": {
        "head_dim": 128, "hidden_size": 5376, "intermediate_size": 21504, "model_type": "gemma3_text",
        "num_attention_heads": 32, "num_hidden_layers": 62, "num_key_value_heads": 16, "sliding_window": 1024,
        "sliding_window_pattern": 6, "query_pre_attn_scalar": 168,
    },
    "vision_config": {
        "hidden_size": 1152, "image_size": 896, "intermediate_size": 4304, "model_type": "siglip_vision_model",
        "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False,
    },
}  # fmt: skip

CONFIGS: dict[str, dict[str, Any]] = {
    "llava-1.5-7b": LLAVA_1_5_7B,
    "llava-v1.6-34b": LLAVA_NEXT_34B,
    "qwen2-vl-7b": QWEN2_VL_7B,
    "qwen2.5-vl-3b": QWEN2_5_VL_3B,
    "qwen2.5-vl-7b": QWEN2_5_VL_7B,
    "qwen2.5-vl-72b": QWEN2_5_VL_72B,
    "qwen3-vl-8b": QWEN3_VL_8B,
    "qwen3-vl-30b-a3b": QWEN3_VL_30B_A3B,
    "internvl3-8b": INTERNVL3_8B,
    "internvl3-78b": INTERNVL3_78B,
    "idefics3-8b": IDEFICS3_8B,
    "smolvlm": SMOLVLM,
    "paligemma-3b": PALIGEMMA_3B,
    "gemma3-27b": GEMMA3_27B,
}


def llava_next_34b_tensors() -> Shapes:
    """Names and shapes of llava-hf/llava-v1.6-34b-hf, written by hand: no code of transformers takes part."""
    shapes: Shapes = {"image_newline": (7168,)}
    tower = "vision_tower.vision_model"
    shapes |= {
        f"{tower}.embeddings.class_embedding": (1024,),
        f"{tower}.embeddings.patch_embedding.weight": (1024, 3, 14, 14),
        f"{tower}.embeddings.position_embedding.weight": (577, 1024),
    }
    for norm in ("pre_layrnorm", "post_layernorm"):
        shapes |= {f"{tower}.{norm}.weight": (1024,), f"{tower}.{norm}.bias": (1024,)}
    for layer in range(24):
        name = f"{tower}.encoder.layers.{layer}"
        for linear, rows, columns in (
            *((f"self_attn.{which}_proj", 1024, 1024) for which in ("q", "k", "v", "out")),
            ("mlp.fc1", 4096, 1024), ("mlp.fc2", 1024, 4096),
        ):  # fmt: skip
            shapes |= {f"{name}.{linear}.weight": (rows, columns), f"{name}.{linear}.bias": (rows,)}
        for norm in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{name}.{norm}.weight": (1024,), f"{name}.{norm}.bias": (1024,)}
    for linear, columns in (("linear_1", 1024), ("linear_2", 7168)):
        shapes |= {
            f"multi_modal_projector.{linear}.weight": (7168, columns),
            f"multi_modal_projector.{linear}.bias": (7168,),
        }
    text = "language_model.model"
    shapes |= {
        f"{text}.embed_tokens.weight": (64064, 7168),
        f"{text}.norm.weight": (7168,),
        "language_model.lm_head.weight": (64064, 7168),
    }
    for layer in range(60):
        name = f"{text}.layers.{layer}"
        shapes |= {
            f"{name}.self_attn.q_proj.weight": (7168, 7168),
            f"{name}.self_attn.k_proj.weight": (1024, 7168),
            f"{name}.self_attn.v_proj.weight": (1024, 7168),
            f"{name}.self_attn.o_proj.weight": (7168, 7168),
            f"{name}.mlp.gate_proj.weight": (20480, 7168),
            f"{name}.mlp.up_proj.weight": (20480, 7168),
            f"{name}.mlp.down_proj.weight": (7168, 20480),
            f"{name}.input_layernorm.weight": (7168,),
            f"{name}.post_attention_layernorm.weight": (7168,),
        }
    return shapes


def qwen_tensors(config: dict[str, Any]) -> Shapes:
    """Names and shapes of a Qwen2.5-VL or of a dense Qwen3-VL's language model; of the vision tower, its layers."""
    text, vision = config.get("text_config", config), config["vision_config"]
    hidden, mlp, vocabulary = text["hidden_size"], text["intermediate_size"], text["vocab_size"]
    size = text.get("head_dim", hidden // text["num_attention_heads"])
    queries, keys = size * text["num_attention_heads"], size * text["num_key_value_heads"]
    shapes: Shapes = {
        "model.embed_tokens.weight": (vocabulary, hidden), "lm_head.weight": (vocabulary, hidden),
        "model.norm.weight": (hidden,),
    }  # fmt: skip
    for layer in range(text["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        shapes |= {
            f"{name}.self_attn.q_proj.weight": (queries, hidden), f"{name}.self_attn.q_proj.bias": (queries,),
            f"{name}.self_attn.k_proj.weight": (keys, hidden), f"{name}.self_attn.k_proj.bias": (keys,),
            f"{name}.self_attn.v_proj.weight": (keys, hidden), f"{name}.self_attn.v_proj.bias": (keys,),
            f"{name}.self_attn.o_proj.weight": (hidden, queries), f"{name}.mlp.gate_proj.weight": (mlp, hidden),
            f"{name}.mlp.up_proj.weight": (mlp, hidden), f"{name}.mlp.down_proj.weight": (hidden, mlp),
            f"{name}.input_layernorm.weight": (hidden,), f"{name}.post_attention_layernorm.weight": (hidden,),
        }  # fmt: skip
    width, inner = vision["hidden_size"], vision["intermediate_size"]
    for block in range(vision["depth"]):
        name = f"visual.blocks.{block}"
        shapes |= {
            f"{name}.attn.qkv.weight": (3 * width, width), f"{name}.attn.proj.weight": (width, width),
            f"{name}.mlp.gate_proj.weight": (inner, width), f"{name}.mlp.up_proj.weight": (inner, width),
            f"{name}.mlp.down_proj.weight": (width, inner),
        }  # fmt: skip
    return shapes | {
        "visual.merger.mlp.0.weight": (4 * width, 4 * width),
        "visual.merger.mlp.2.weight": (hidden, 4 * width),
    }


def write_safetensors(file: Path, shapes: Shapes, dtype: str | dict[str, str] = "BF16") -> None:
    """A safetensors file with these tensors, all zeros, that takes hardly any room on the disk."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, shape in shapes.items():
        kind = dtype if isinstance(dtype, str) else dtype[name]
        end = place + math.prod(shape) * BYTES[kind]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [place, end]}
        place = end
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with file.open("wb") as stream:
        stream.write(len(encoded).to_bytes(8, "little") + encoded)
        stream.truncate(8 + len(encoded) + place)


def write_model(
    folder: Path,
    config: dict[str, Any],
    shapes: Shapes | None = None,
    *,
    dtype: str | dict[str, str] = "BF16",
    shards: int = 1,
    processor: dict[str, Any] | None = None,
) -> Path:
    """A model folder: config.json, weights in one file or several with an index, the image processor's settings."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    if shapes is None:
        return folder
    if shards == 1:
        write_safetensors(folder / "model.safetensors", shapes, dtype)
        return folder
    names = list(shapes)
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        mine = names[shard::shards]
        write_safetensors(folder / file, {name: shapes[name] for name in mine}, dtype)
        weight_map |= dict.fromkeys(mine, file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def build_empty(config: dict[str, Any]) -> Any:
    """The model that transformers builds from a configuration, on the meta device: every shape, no memory."""
    import tempfile

    import torch
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        loaded = transformers.AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        return transformers.AutoModelForImageTextToText.from_config(loaded, dtype=torch.bfloat16)


def shapes_of(named: Iterable[tuple[str, Any]]) -> Shapes:
    """Names and shapes of tensors."""
    return {name: tuple(tensor.shape) for name, tensor in named}
