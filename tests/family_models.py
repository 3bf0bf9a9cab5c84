"""One tiny model of every family of `AutoModelForImageTextToText` that can be built without torchvision.

As in `tiny_models`: random weights, drawn wide, with a processor and a tokenizer made on the spot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from family_bare_models import (
    blip_2_opt,
    blip_2_t5,
    build_blip,
    build_chameleon,
    build_florence2,
    build_git,
    build_idefics,
    build_instructblip,
    build_kosmos2,
)
from family_grid_models import (
    build_exaone4_5,
    build_glm4v,
    build_glm4v_moe,
    build_glm46v,
    build_hyperclovax,
    build_qwen2_vl,
    build_qwen3_5,
    build_qwen3_5_moe,
    build_qwen3_vl_moe,
)
from family_tile_models import (
    build_aria,
    build_aya_vision,
    build_deepseek_vl,
    build_deepseek_vl_hybrid,
    build_gemma3,
    build_idefics2,
    build_janus,
    build_lighton_ocr,
    build_llava_onevision,
    build_mllama,
    build_ovis2,
    build_vipllava,
)
from tiny_models import FAMILIES


class TinyFamily(NamedTuple):
    """How to build one, and how transformers' documentation asks it."""

    build: Callable[[Path], None]
    several_images: bool = False


MORE_FAMILIES: Mapping[str, TinyFamily] = {
    "blip": TinyFamily(build_blip),
    "blip-2": TinyFamily(blip_2_opt),
    "blip-2 (T5)": TinyFamily(blip_2_t5),
    "instructblip": TinyFamily(build_instructblip),
    "git": TinyFamily(build_git),
    "florence2": TinyFamily(build_florence2),
    "gemma3": TinyFamily(build_gemma3),
    "janus": TinyFamily(build_janus),
    "aria": TinyFamily(build_aria),
    "aya_vision": TinyFamily(build_aya_vision),
    "chameleon": TinyFamily(build_chameleon),
    "idefics": TinyFamily(build_idefics),
    "idefics2": TinyFamily(build_idefics2),
    "vipllava": TinyFamily(build_vipllava),
    "llava_onevision": TinyFamily(build_llava_onevision),
    "deepseek_vl": TinyFamily(build_deepseek_vl),
    "mllama": TinyFamily(build_mllama),
    "ovis2": TinyFamily(build_ovis2),
    "qwen2_vl": TinyFamily(build_qwen2_vl),
    "qwen3_vl_moe": TinyFamily(build_qwen3_vl_moe),
    "qwen3_5": TinyFamily(build_qwen3_5),
    "qwen3_5_moe": TinyFamily(build_qwen3_5_moe),
    "exaone4_5": TinyFamily(build_exaone4_5),
    "hyperclovax_vision_v2": TinyFamily(build_hyperclovax),
    "glm4v": TinyFamily(build_glm4v),
    "glm46v": TinyFamily(build_glm46v),
    "glm4v_moe": TinyFamily(build_glm4v_moe),
    "kosmos-2": TinyFamily(build_kosmos2),
    "deepseek_vl_hybrid": TinyFamily(build_deepseek_vl_hybrid),
    "lighton_ocr": TinyFamily(build_lighton_ocr),
    **{name: TinyFamily(family.build, family.several_images) for name, family in FAMILIES.items()},
}
