"""A model's family: what its config.json calls its architecture."""

from __future__ import annotations

from pathlib import Path

import msgspec

from muster.core import ConfigurationError, MissingExtraError
from muster.models.registry import resolve_model


class _Config(msgspec.Struct):
    model_type: str | None = None


def model_family(name: str) -> str | None:
    """The `model_type` of the config.json of `--model NAME`, exactly as it stands there; None where it has none.

    Of a model on the hub, the one file is fetched, or taken from the hub's cache. Raises `ConfigurationError` where
    it can't be had.
    """
    model = resolve_model(name)
    file = Path(model) / "config.json" if Path(model).is_dir() else _from_hub(model)
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Config).model_type
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigurationError(f"{file}: the model's family can't be read from it: {error}") from error


def _from_hub(model: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise MissingExtraError(f"the hub id {model}", "hub") from error
    try:
        return Path(hf_hub_download(model, "config.json"))
    except Exception as error:  # its own errors, and those of whichever HTTP library it uses
        raise ConfigurationError(
            f"a task has prompts for certain families of models, and the config.json of {model} can't be had: {error}. "
            "Give the model as a folder, or choose the prompts yourself with --prompt-variant"
        ) from error
