"""A model on the hub, described without downloading its weights: its small files, and the headers of the large ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from muster.core import ConfigurationError, MissingExtraError
from muster.core.hub import hub_errors
from muster.models.fetch import unreachable_model
from muster.sizing.checkpoint import (
    DTYPE_BITS,
    INDEX,
    PROCESSOR_FILES,
    SINGLE,
    Checkpoint,
    Config,
    Tensor,
    merge_processor,
    read_folder,
    read_json,
    weight_files,
)


def read_hub(model: str, revision: str | None = None) -> Checkpoint:
    """What the hub knows of a model, by range requests; without tensors where it has no safetensors.

    A model that lies in the hub's cache is read there. Honours `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` and
    `HF_HUB_OFFLINE`.

    Raises:
        ConfigurationError: there is no such model, it can't be reached, or it may not be read.
        RunError: the connection broke, or a file on the hub is broken.
        MissingExtraError: huggingface_hub isn't installed.
    """
    try:
        from huggingface_hub import get_safetensors_metadata
        from huggingface_hub.errors import NotASafetensorsRepoError
    except ImportError as error:
        raise MissingExtraError(f"the hub id {model}", "transformers") from error

    if (folder := _cached(model, revision)) is not None:
        return replace(read_folder(folder), name=model)
    with hub_errors(model, revision, lambda: unreachable_model(model, revision)):
        files = [_small_file(model, name, revision) for name in ("config.json", *PROCESSOR_FILES)]
        if files[0] is None:
            raise ConfigurationError(
                f"{model} has no config.json on the hub: it is not a model of transformers"
            )
        config, processor = files[0], merge_processor(file for file in files[1:] if file is not None)
        try:
            metadata = get_safetensors_metadata(model, revision=revision)
        except NotASafetensorsRepoError:
            return Checkpoint(model, config, processor, (), "config")
    tensors = {
        name: Tensor(name, info.dtype, tuple(info.shape))
        for file in metadata.files_metadata.values()
        for name, info in file.tensors.items()
    }
    unknown = {tensor.dtype for tensor in tensors.values()} - DTYPE_BITS.keys()
    if unknown:
        raise ConfigurationError(f"{model} holds tensors of a type that isn't known here: {min(unknown)}")
    return Checkpoint(model, config, processor, tuple(tensors.values()), "headers")


def _cached(model: str, revision: str | None) -> Path | None:
    """The snapshot in the cache, where it is complete."""
    from huggingface_hub import try_to_load_from_cache

    found = [
        try_to_load_from_cache(model, name, revision=revision) for name in ("config.json", SINGLE, INDEX)
    ]
    if not isinstance(found[0], str) or not any(isinstance(path, str) for path in found[1:]):
        return None
    folder = Path(found[0]).parent
    try:
        weight_files(folder)
    except ConfigurationError:
        return None  # an index without all of its files: the hub has them
    return folder


def _small_file(model: str, name: str, revision: str | None) -> Config | None:
    """A JSON file of the repository; None where it has none of that name."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return read_json(Path(hf_hub_download(model, name, revision=revision)))
    except LocalEntryNotFoundError:  # it may be there, but nobody can be asked
        raise
    except EntryNotFoundError:
        return None
