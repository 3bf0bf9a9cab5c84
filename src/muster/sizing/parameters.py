"""Parameters of a model: how many, of which part, how large once loaded, and what one GPU of several holds of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from muster.core import ConfigurationError
from muster.sizing.architecture import Architecture
from muster.sizing.checkpoint import Checkpoint, Tensor
from muster.sizing.quantization import Quantization, read_quantization

Part = Literal["vision", "projector", "language", "embedding"]
"""`embedding` is the token embedding and the output layer; `projector` what joins vision and language."""

LoadDtype = Literal["auto", "float32", "bfloat16", "float16", "int8", "int4"]
"""`int8` and `int4`: quantised by bitsandbytes while loading (`load_in_8bit`, `load_in_4bit`)."""

LOAD_DTYPES: tuple[LoadDtype, ...] = get_args(LoadDtype)
DTYPE_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
_STORED = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}

_PROJECTOR = re.compile(
    r"(^|\.)(merger|deepstack_merger_list|multi_modal_projector|mm_projector|connector|mlp1|aligner|resampler"
    r"|modality_projection|image_newline)(\.|$)"
)
_VISION = re.compile(
    r"(^|\.)(vision_tower|vision_model|visual|vision_encoder|image_encoder|vision|vit|vpm)(\.|$)"
)
_EMBEDDING = re.compile(r"(^|\.)(embed_tokens|lm_head|wte|tok_embeddings|language_model\.output)(\.|$)")
_LAYER = re.compile(r"(^|\.)(layers|blocks|h)\.(\d+)\.")
_NO_PARAMETER = re.compile(r"(inv_freq|position_ids|masked_bias|rotary_emb\.\w+)$")
"""Buffers that old checkpoints hold and that are computed today."""

_COLUMNS = frozenset(
    {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "gate_up_proj", "lm_head", "embed_tokens"}
)
"""Split along the first dimension, bias included (`colwise`; the token embedding along the vocabulary)."""
_ROWS = frozenset({"o_proj", "down_proj"})
"""Split along the second dimension, the bias whole (`rowwise`)."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One tensor of the model, once loaded."""

    name: str
    part: Part
    shape: tuple[int, ...]
    elements: int
    stored_bytes: int
    loaded_bytes: int
    layer: int | None
    """Number of the language model's layer that it belongs to, None outside of layers."""

    def sharded_bytes(self, gpus: int) -> int:
        """What the first of `gpus` GPUs holds of it under transformers' tensor-parallel plan: the largest piece."""
        size = _split_size(self)
        return self.loaded_bytes if size is None else math.ceil(size / gpus) * self.loaded_bytes // size


@dataclass(frozen=True, slots=True)
class Parameters:
    """All of them."""

    each: tuple[Parameter, ...]
    dtype: str
    """What they are loaded as: a torch dtype, `int8`, `int4`, or the name of the checkpoint's own quantisation."""
    quantization: Quantization | None
    compute_bytes: int
    """Bytes of one number of activations and of the KV cache."""
    stored_dtypes: tuple[str, ...] = ()
    """Names of the safetensors format, the most frequent first."""

    @property
    def total(self) -> int:
        """Number of parameters."""
        return sum(parameter.elements for parameter in self.each)

    @property
    def stored_bytes(self) -> int:
        """As they lie on the disk."""
        return sum(parameter.stored_bytes for parameter in self.each)

    @property
    def loaded_bytes(self) -> int:
        """In the memory of one GPU that holds everything."""
        return sum(parameter.loaded_bytes for parameter in self.each)

    def of(self, part: Part) -> int:
        """Number of parameters of a part."""
        return sum(parameter.elements for parameter in self.each if parameter.part == part)

    @property
    def replicated_bytes(self) -> int:
        """What every GPU of a replica holds whole under tensor parallelism, loaded."""
        return sum(parameter.loaded_bytes for parameter in self.each if _split_size(parameter) is None)

    def sharded_bytes(self, gpus: int) -> int:
        """Under tensor parallelism, all that the first GPU of a replica holds, loaded."""
        return sum(parameter.sharded_bytes(gpus) for parameter in self.each)

    def largest_block(self) -> int:
        """Loaded bytes of the largest thing that a device map doesn't split: a layer, or one large tensor."""
        layers: dict[int, int] = {}
        for parameter in self.each:
            if parameter.layer is not None:
                layers[parameter.layer] = layers.get(parameter.layer, 0) + parameter.loaded_bytes
        tensors = (parameter.loaded_bytes for parameter in self.each if parameter.layer is None)
        return max([*layers.values(), *tensors], default=0)


def count_parameters(
    checkpoint: Checkpoint, architecture: Architecture, dtype: LoadDtype = "auto"
) -> Parameters:
    """The model's parameters, loaded as `dtype`; `auto` is what its configuration says, else what is stored.

    Raises:
        ConfigurationError: a quantised checkpoint that is to be quantised again.
    """
    quantization = read_quantization(checkpoint.config)
    if quantization is not None and dtype in ("int8", "int4"):
        raise ConfigurationError(
            f"{checkpoint.name} is quantised already ({quantization.name}): leave --dtype {dtype} out"
        )
    tensors = _kept(checkpoint.tensors, tied=architecture.tied)
    stored = _stored_dtypes(tensors)
    said = architecture.dtype or next((_STORED[name] for name in stored if name in _STORED), "float32")
    target = said if dtype == "auto" else dtype
    compute = DTYPE_BYTES.get(target, 2)
    each = tuple(_parameter(tensor, target, quantization, compute) for tensor in tensors)
    name = f"{quantization.name}, {quantization.bits or '?'} bits" if quantization else target
    return Parameters(each, name, quantization, compute, stored)


def _kept(tensors: Sequence[Tensor], *, tied: bool) -> list[Tensor]:
    """Without computed buffers, and without the copy of tied embeddings that some checkpoints hold."""
    shapes = {tensor.shape for tensor in tensors if tensor.name.endswith("embed_tokens.weight")}
    return [
        tensor
        for tensor in tensors
        if not _NO_PARAMETER.search(tensor.name)
        and not (tied and tensor.name.endswith("lm_head.weight") and tensor.shape in shapes)
    ]


def _stored_dtypes(tensors: Iterable[Tensor]) -> tuple[str, ...]:
    sizes: dict[str, int] = {}
    for tensor in tensors:
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.bytes
    return tuple(sorted(sizes, key=lambda name: -sizes[name]))


def _parameter(tensor: Tensor, dtype: str, quantization: Quantization | None, compute: int) -> Parameter:
    part = part_of(tensor.name)
    elements = tensor.elements if quantization is None else quantization.elements(tensor)
    layer = _LAYER.search(tensor.name) if part == "language" else None
    return Parameter(
        name=tensor.name,
        part=part,
        shape=tensor.shape,
        elements=elements,
        stored_bytes=tensor.bytes,
        loaded_bytes=tensor.bytes if quantization else _loaded(tensor, part, dtype, compute),
        layer=int(layer[3]) if layer else None,
    )


def part_of(name: str) -> Part:
    """The part of the model that a tensor belongs to, by its name."""
    if _PROJECTOR.search(name):
        return "projector"
    if _VISION.search(name):
        return "vision"
    return "embedding" if _EMBEDDING.search(name) else "language"


def _loaded(tensor: Tensor, part: Part, dtype: str, compute: int) -> int:
    """What it takes once loaded. Of the linear layers (the matrices) bitsandbytes replaces all but the output layer.

    8 bits: a float32 scale per row. 4 bits: a float32 scale per block of 64.
    """
    if dtype in ("int8", "int4") and len(tensor.shape) == 2 and part != "embedding":
        if dtype == "int8":
            return tensor.elements + 4 * tensor.shape[0]
        return math.ceil(tensor.elements / 2) + 4 * math.ceil(tensor.elements / 64)
    return tensor.elements * compute


def _split_size(parameter: Parameter) -> int | None:
    """Length of the dimension that tensor parallelism cuts into pieces; None where every GPU holds it whole."""
    if parameter.part not in ("language", "embedding") or not parameter.shape:
        return None
    *_, module, leaf = ("", *parameter.name.split("."))
    style = leaf if leaf in _COLUMNS | _ROWS else module  # experts fused into one tensor have no `.weight`
    if style in _COLUMNS | _ROWS and len(parameter.shape) == 3:
        return math.prod(parameter.shape)  # experts × rows × columns: each expert is cut
    if style in _COLUMNS:
        return parameter.shape[0]
    return parameter.shape[1] if style in _ROWS and len(parameter.shape) == 2 else None
