"""The name of a model's cache: `cache` from transformers 5.24 on, `past_key_values` before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from transformers import Cache

CACHE_NAMES = ("cache", "past_key_values")


class CacheInput(NamedTuple):
    """A cache, and what the model calls it."""

    name: str
    cache: Cache


def cache_among(inputs: Mapping[str, object]) -> CacheInput | None:
    """The cache that `generate` would call the model with, or None."""
    return next(
        (CacheInput(name, inputs[name]) for name in CACHE_NAMES if inputs.get(name) is not None), None
    )


def cache_of(outputs: object, name: str) -> Cache:
    """The cache that a model has filled. Of any type: see `unsuitable`."""
    return getattr(outputs, name, None)
