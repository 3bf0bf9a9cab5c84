"""What is known of quantised weights: how they are stored, and what a number of theirs stands for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from muster.sizing.checkpoint import Config, Tensor

Method = Literal["bitsandbytes", "awq", "gptq", "compressed-tensors", "fp8", "other"]

_METHODS: dict[str, Method] = {
    "bitsandbytes": "bitsandbytes",
    "awq": "awq",
    "gptq": "gptq",
    "compressed-tensors": "compressed-tensors",
    "fp8": "fp8",
    "fbgemm_fp8": "fp8",
}
_HELPERS = re.compile(
    r"(\.|_)(absmax|quant_map|nested_absmax|nested_quant_map|quant_state[.\w]*|SCB|weight_format|scales?|qzeros|g_idx"
    r"|weight_scale(_inv)?|weight_zero_point|weight_shape|weight_g_idx|input_scale|scale_inv)$"
)
"""Tensors that say how others are to be read, by the names that bitsandbytes, AutoAWQ, GPTQ and vLLM write."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """How a checkpoint is quantised."""

    method: Method
    name: str
    """As its configuration says it."""
    bits: int | None

    def elements(self, tensor: Tensor) -> int:
        """How many of the model's parameters a stored tensor holds; 0 for scales and the like."""
        if _HELPERS.search(tensor.name):
            return 0
        if tensor.is_float or tensor.dtype.startswith("F8"):
            return tensor.elements
        bits = self.bits or 8
        if tensor.dtype in ("I32", "U8", "I8"):  # several values packed into each number
            return tensor.bytes * 8 // bits
        return 0


def read_quantization(config: Config) -> Quantization | None:
    """What `quantization_config` says, or None."""
    settings = config.get("quantization_config")
    if not isinstance(settings, dict):
        return None
    name = str(settings.get("quant_method") or ("bitsandbytes" if "load_in_4bit" in settings else "unknown"))
    method = _METHODS.get(name, "other")
    bits = settings.get("bits", settings.get("w_bit"))
    if method == "bitsandbytes":
        bits = 4 if settings.get("load_in_4bit", settings.get("_load_in_4bit")) else 8
    elif method == "fp8":
        bits = 8
    elif method == "compressed-tensors":
        bits = _group_bits(settings)
    return Quantization(method, name, bits if isinstance(bits, int) else None)


def _group_bits(settings: Config) -> int | None:
    groups = settings.get("config_groups")
    for group in groups.values() if isinstance(groups, dict) else ():
        weights = group.get("weights") if isinstance(group, dict) else None
        bits = weights.get("num_bits") if isinstance(weights, dict) else None
        if isinstance(bits, int):
            return bits
    return None
