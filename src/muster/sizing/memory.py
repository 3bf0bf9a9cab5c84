"""Memory of a replica beside its weights: the KV cache, exactly, and the activations of a prefill, estimated.

The estimate adds up the tensors that transformers' modules hold at the same time at the worst moment of the first
forward pass, with scaled dot product attention; benchmarks/planner.py compares it with what torch measures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from muster.sizing.architecture import Architecture, TextShape, VisionShape

KEEPS_VISION_LAYERS = frozenset({"llava", "llava_next", "vipllava", "llava_onevision", "internvl_chat"})
"""Families that take the features of an inner layer, for which transformers keeps the states of all layers."""

SEES_ALL_OF_THE_IMAGE = frozenset({"paligemma", "gemma3"})
"""Families whose attention is not purely causal, so that even a batch of one has a mask."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a replica is to answer at the same time."""

    batch: int
    """Requests."""
    prompt: int
    """Tokens of one request before its answer, images included."""
    answer: int
    """Tokens of one answer, at most."""
    patches: int
    """Image patches of one request that go through the vision tower."""

    @property
    def length(self) -> int:
        """Tokens of prompt and answer."""
        return self.prompt + self.answer


def cache_bytes_per_token(text: TextShape, number_bytes: int, *, split: int = 1) -> int:
    """Bytes that one token adds to the KV cache of full layers: keys and values. `split`: GPUs that share the heads."""
    full = sum(window is None for window in text.windows) if text.windows else text.layers
    return 2 * full * _cache_heads(text, split) * text.head_size * number_bytes


def cache_bytes(text: TextShape, number_bytes: int, batch: int, tokens: int, *, split: int = 1) -> int:
    """The KV cache of `batch` sequences of `tokens`; sliding layers keep one token less than their window."""
    windows = text.windows or (None,) * text.layers
    kept = sum(tokens if window is None else min(tokens, window - 1) for window in windows)
    return 2 * batch * kept * _cache_heads(text, split) * text.head_size * number_bytes


def _cache_heads(text: TextShape, split: int) -> int:
    return math.ceil(text.kv_heads / split)


def activation_bytes(architecture: Architecture, number_bytes: int, demand: Demand, *, split: int = 1) -> int:
    """Peak of everything that is neither weights nor cache, on the GPU that has most of it.

    `split`: GPUs that share the language model's layers under tensor parallelism; the vision tower and the hidden
    states are whole on each.
    """
    vision = architecture.vision
    keeps = architecture.family in KEEPS_VISION_LAYERS
    seeing = _vision_peak(vision, number_bytes, demand.batch * demand.patches, keeps) if vision else 0
    # What is left of seeing while the language model reads: states, features, and their projections.
    seen = demand.batch * demand.patches * (4 * vision.hidden + vision.mlp) * number_bytes if vision else 0
    masked = demand.batch > 1 or architecture.family in SEES_ALL_OF_THE_IMAGE
    return max(seeing, _prefill_peak(architecture.text, number_bytes, demand, split, seen, masked=masked))


def _prefill_peak(text: TextShape, size: int, demand: Demand, split: int, seen: int, *, masked: bool) -> int:
    tokens = demand.batch * demand.prompt
    hidden = tokens * text.hidden * size
    queries = tokens * text.heads * text.head_size * size // split
    keys = tokens * _cache_heads(text, split) * text.head_size * size
    # Held throughout: the embedded prompt, before and after the images came into it, the residual stream, and the
    # positions' sines and cosines.
    held = 3 * hidden + 2 * tokens * text.head_size * size + seen
    # RMSNorm works in float32: the input, its square or its product with the scale, and the result.
    norm = hidden + 2 * tokens * text.hidden * 4
    # Normed input; queries, keys and values, rotated and not; keys and values of all heads, where a mask keeps the
    # kernels from sharing them; and the output, twice.
    shared = text.kv_heads == text.heads or not masked
    attention = hidden + 2 * queries + 3 * keys + (0 if shared else 2 * queries) + 2 * queries
    # Normed input; the gate, the other half and their product.
    mlp = hidden + 3 * tokens * text.mlp * size // split
    # A batch is padded, so it has a mask: true or false, then numbers, then numbers padded to a multiple of eight.
    mask = demand.batch * demand.prompt**2 * (1 + 2 * size) if masked else 0
    # The last position's logits, as computed and in float32.
    logits = demand.batch * text.vocabulary * (size + 4)
    return held + max(norm, attention, mlp) + mask + logits


def _vision_peak(vision: VisionShape, size: int, patches: int, keeps_layers: bool) -> int:
    hidden = patches * vision.hidden * size
    pixels = patches * vision.patch**2 * 3 * (4 + size)  # as they arrive, and in the model's dtype
    states = hidden * (vision.layers + 1) if keeps_layers else hidden
    # Queries, keys and values, and four of the kind in float32, where positions are rotated into them (Qwen).
    attention = 5 * hidden + 4 * patches * vision.hidden * 4 + hidden
    mlp = hidden + 3 * patches * vision.mlp * size
    return pixels + states + max(attention, mlp)
