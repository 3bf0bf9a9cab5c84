"""Generation settings that reports use, by name: `generation_variants.yaml` beside this file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files

import msgspec
import yaml

from muster.core import ConfigurationError, Generation
from muster.core.text import did_you_mean


class GenerationChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is said instead of a task's own settings."""

    max_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None

    def of(self, generation: Generation) -> Generation:
        """The settings with this change."""
        return replace(generation, **msgspec.to_builtins(self))


class GenerationVariant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of one report."""

    description: str
    source: str
    """Where they are published."""
    generation: GenerationChange
    tasks: dict[str, GenerationChange] = msgspec.field(default_factory=dict)
    """For single benchmarks, on top of `generation`."""


@cache
def generation_variants() -> Mapping[str, GenerationVariant]:
    """All that ship with Muster, by name."""
    text = files("muster.tasks").joinpath("generation_variants.yaml").read_text(encoding="utf-8")
    return msgspec.convert(yaml.safe_load(text), dict[str, GenerationVariant])


def in_generation_variant(task: str, default: Generation, name: str | None) -> Generation:
    """A task's settings in the variant `name`; its own where none is asked for. What the variant doesn't say stays.

    Raises `ConfigurationError` for a name that isn't known.
    """
    if name is None:
        return default
    known = generation_variants()
    if name not in known:
        raise ConfigurationError(
            f"--generation-variant {name}: there is no such variant{did_you_mean(name, list(known)) or '.'} There are "
            f"{', '.join(known)} (docs/benchmarks.md, Thinking models)."
        )
    variant = known[name]
    settings = variant.generation.of(default)
    return variant.tasks[task].of(settings) if task in variant.tasks else settings
