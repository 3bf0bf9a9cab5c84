"""A model's own generation settings: what ends its answers is kept, the rest is reset, and said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from transformers import GenerationConfig

from muster.core import JSON, ConfigurationError
from muster.models.transformers.generation_fields import FIELDS, IN_FORCE, changes_nothing

T = TypeVar("T", int, str)
FILE = "generation_config.json"
LENGTHS = ("max_length", "max_new_tokens")
LANGUAGE_MODELS = ("decoder", "generator", "text_config")
"""Where a model's configuration has its language model's, which may hold generation settings too."""


def loadable_settings(folder: Path) -> tuple[GenerationConfig | None, dict[str, JSON]]:
    """The settings in a model folder without what will be reset, and that; None where transformers may read them.

    transformers refuses to load a model whose settings contradict each other, also where none of them is used.

    Raises:
        ConfigurationError: the settings that decide where an answer ends can't be understood.
    """
    if (folder / FILE).is_file():
        given = _read(folder / FILE)
        reset = _to_reset(given)
        kept = {name: value for name, value in given.items() if name not in FIELDS or FIELDS[name] == "model"}
        _check(kept, f"{folder / FILE}: ")
        return GenerationConfig(**kept), reset
    given = _read(folder / "config.json") if (folder / "config.json").is_file() else {}
    nested = [part for name in LANGUAGE_MODELS if isinstance(part := given.get(name), dict)][:1]
    reset = {name: value for part in (*nested, given) for name, value in _to_reset(part).items()}
    if not reset:
        return None, {}
    without = {name: value for name, value in given.items() if name not in reset}
    for name in LANGUAGE_MODELS:
        if isinstance(part := without.get(name), dict):
            without[name] = {each: value for each, value in part.items() if each not in reset}
    return GenerationConfig.from_model_config(without), reset


@dataclass(frozen=True, slots=True)
class OwnSettings:
    """What a model's own settings say of the end of its answers, and what they say in vain."""

    end_tokens: frozenset[int]
    stop_strings: tuple[str, ...] = ()
    end_forced: bool = False
    """An answer that is cut off has the end token in place of its last one."""
    reset: Mapping[str, JSON] = field(default_factory=dict)

    def described(self) -> str:
        """What was reset, in one line: `max_time (5.0), num_beams (3)`; empty where nothing was.

        Without lengths: every task has its own, and a file that names one means nothing by it.
        """
        told = sorted((name, value) for name, value in self.reset.items() if name not in LENGTHS)
        return ", ".join(f"{name} ({_shown(value)})" for name, value in told)


def settle(
    config: Any, tokenizer: Any, overrides: Mapping[str, JSON], unread: Mapping[str, JSON] | None = None
) -> OwnSettings:
    """Reset a loaded model's settings, then set `overrides` (`generation_…`). `unread`: see `loadable_settings`.

    Stop strings and a forced end leave the settings: every row has a budget of its own, which `generate` doesn't know.

    Raises:
        ConfigurationError: there is no such setting, or one that is kept can't be understood.
    """
    fields = vars(config)
    unknown = {name: "method" for name in vars(GenerationConfig()) if name not in FIELDS}
    reset = dict(unread or {})
    for name, kind in {**FIELDS, **unknown}.items():
        if kind in ("model", "record") or name not in fields:
            continue
        if not changes_nothing(name, fields[name]):
            reset[name] = fields[name]
        setattr(config, name, IN_FORCE.get(name))
    for name, value in overrides.items():
        if not hasattr(config, name):
            raise ConfigurationError(f"--model-args generation_{name}: the generation config has no {name}")
        setattr(config, name, value)
    _check(overrides, "--model-args generation_")
    _check(
        {name: getattr(config, name, None) for name, kind in FIELDS.items() if kind == "model"},
        "its generation settings: ",
    )
    if config.eos_token_id is None:
        config.eos_token_id = tokenizer.eos_token_id
    if config.pad_token_id is None or config.pad_token_id < 0:  # Llama's -1 stands for none
        config.pad_token_id = tokenizer.pad_token_id
    own = OwnSettings(
        frozenset(_listed(config.eos_token_id)),
        tuple(_listed(config.stop_strings)),
        config.forced_eos_token_id is not None,
        reset,
    )
    config.stop_strings = config.forced_eos_token_id = None
    return own


def _to_reset(given: Mapping[str, Any]) -> dict[str, JSON]:
    return {
        name: value
        for name, value in given.items()
        if name in FIELDS and FIELDS[name] not in ("model", "record") and not changes_nothing(name, value)
    }


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} can't be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{file} holds no settings but a {type(content).__name__}")
    return content


def _check(kept: Mapping[str, Any], where: str) -> None:
    """Raise `ConfigurationError` where a setting that ends answers is nothing that could end one."""
    for name, value in kept.items():
        if value is None or FIELDS.get(name) != "model":
            continue
        if name == "stop_strings":
            good = isinstance(value, str) or _all(value, str)
            wanted = "a text or a list of texts"
        elif name == "repetition_penalty":
            good = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
            wanted = "a positive number"
        elif name in ("eos_token_id", "forced_eos_token_id", "decoder_start_token_id"):
            good, wanted = _is_id(value) or _all(value, int), "a token's number or a list of them"
        else:
            good, wanted = _is_id(value), "a token's number"
        if not good:
            raise ConfigurationError(
                f"{where}{name} is {_shown(value)}: expected {wanted}. Mend it or leave it out"
            )


def _listed(value: T | list[T] | None) -> list[T]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _all(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, kind) and not isinstance(each, bool) for each in value
    )


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:59]}…"
