"""Whether all that a model folder holds of weights will be loaded: read off its file names and headers, without torch.

Libraries pick one file and pass over the rest without a word: an adapter where peft is missing, shards where there is a
single file too, a projector that was trained apart. Then another model is evaluated than the folder's name says.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import json
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Literal, TypeAlias

from muster.core import JSON, ConfigurationError
from muster.sizing.checkpoint import INDEX, SINGLE, read_names, weight_files

AdapterUse: TypeAlias = Literal["auto", "off"]
"""`auto`: an adapter beside the weights belongs to the model; `off`: the weights are meant without it."""

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
READ_BY_NOBODY = (
    "non_lora_trainables.*",
    "mm_projector.*",
    "*.distcp",
    "*lora*.safetensors",
    "*lora*.bin",
    "adapter.safetensors",
    "adapters.safetensors",
)
"""Weights of the original LLaVA's trainer, of torch's distributed checkpoints, and of adapters under other libraries'
names (diffusers, MLX …): no part of what is loaded."""
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
MERGE = (
    "merge it into its base model (peft: PeftModel.from_pretrained(base, folder).merge_and_unload()"
    ".save_pretrained(new_folder), and the processor beside it) and give the merged folder as --model"
)


def check_weights(folder: Path, *, with_adapters: bool = False, adapter: AdapterUse = "auto") -> None:
    """Raise `ConfigurationError` for a folder of which a part would be left out, or is missing or cut off.

    `with_adapters`: whether what loads the model can load an adapter beside its weights, by peft.
    """
    _check_adapter(folder, with_adapters, adapter)
    try:
        if not _pickles(folder) or (folder / SINGLE).is_file() or (folder / INDEX).is_file():
            _check_safetensors(folder)
        else:
            _check_pickles(folder)
    except ConfigurationError as error:
        raise ConfigurationError(f"the model in {folder} can't be loaded: {error}") from error


def has_adapter(folder: Path) -> bool:
    """Whether there is an adapter beside the weights, or alone."""
    return (folder / ADAPTER_CONFIG).is_file()


def described(folder: Path, adapter: AdapterUse) -> str:
    """What the user should know of what was loaded and what wasn't; empty where there was one choice only."""
    parts = []
    if has_adapter(folder):
        left_out = adapter == "off"
        parts.append(
            "without its adapter" if left_out else f"with its adapter (peft {metadata.version('peft')})"
        )
    if (others := _pickles(folder)) and any(folder.glob("*.safetensors")):
        parts.append(f"from safetensors; {others[0]} is taken for a copy of it")
    return ", ".join(parts)


def deciding_versions(folder: Path, args: Mapping[str, JSON]) -> dict[str, JSON]:
    """Versions of the libraries that decide what becomes of an adapter or of quantised weights; None: not installed."""
    names = ["peft"] if has_adapter(folder) else []
    method = _quantisation(folder)
    if any(name.startswith(("load_in_", "bnb_4bit_", "llm_int8_")) for name in args):
        method = "bitsandbytes"
    if method is not None:
        names += QUANTISERS.get(method, ())
    return {name: _version(name) for name in (*names, *(("transformers",) if names or method else ()))}


QUANTISERS = {
    "bitsandbytes": ("bitsandbytes",),
    "gptq": ("gptqmodel", "optimum"),
    "awq": ("gptqmodel", "autoawq"),
    "compressed-tensors": ("compressed-tensors",),
    "hqq": ("hqq",),
    "aqlm": ("aqlm",),
    "quanto": ("optimum-quanto",),
    "torchao": ("torchao",),
    "eetq": ("eetq",),
    "fbgemm_fp8": ("fbgemm-gpu",),
    "fp8": ("kernels",),
    "mxfp4": ("kernels",),
    "auto-round": ("auto-round",),
    "quark": ("amd-quark",),
}
"""Packages by the `quant_method` of a config.json: without them weights are refused, or computed in another way."""


def _quantisation(folder: Path) -> str | None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    settings = config.get("quantization_config") if isinstance(config, dict) else None
    method = settings.get("quant_method") if isinstance(settings, dict) else None
    return method if isinstance(method, str) else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _check_adapter(folder: Path, with_adapters: bool, adapter: AdapterUse) -> None:
    weights = [name for name in ADAPTER_WEIGHTS if (folder / name).is_file()]
    without = ", or say --model-args adapter=off to evaluate the model without it" if with_adapters else ""
    if not has_adapter(folder):
        if weights and adapter == "auto":
            raise ConfigurationError(
                f"{folder} holds the weights of an adapter ({weights[0]}) without its {ADAPTER_CONFIG}, so it would be "
                f"left out: add that file{without}"
            )
    elif not _has_weights(folder):
        raise ConfigurationError(
            f"{folder} holds an adapter of {base_of(folder)}, and not the weights of that model: {MERGE}"
        )
    elif adapter == "auto":
        if not weights:
            raise ConfigurationError(
                f"{folder} has an {ADAPTER_CONFIG} without the adapter's weights ({' or '.join(ADAPTER_WEIGHTS)}): "
                f"complete it{without}"
            )
        if not with_adapters:
            raise ConfigurationError(
                f"{folder} holds an adapter beside the model's weights, which this backend would leave out: {MERGE}"
            )
        if importlib.util.find_spec("peft") is None:
            raise ConfigurationError(
                f"{folder} holds an adapter beside the model's weights, and without the package peft it would be left "
                f"out: install it (in Muster's clone, pip install '.[peft]'), or {MERGE}{without}"
            )
    if adapter == "auto" and (inner := _adapters_below(folder)):
        raise ConfigurationError(
            f"{folder} holds an adapter in {inner[0]}/, which would be left out: merge it into the model, or move it "
            f"out of the folder if it is no part of it{without}"
        )
    if found := [file.name for pattern in READ_BY_NOBODY for file in sorted(folder.glob(pattern))]:
        raise ConfigurationError(
            f"{folder} holds weights that nobody would load: {found[0]}. Merge them into the model, or move them out "
            "of the folder if they are no part of it"
        )


def _adapters_below(folder: Path) -> list[str]:
    """Folders within it that hold an adapter, as Phi-4-multimodal has them; a trainer's checkpoints aside."""
    found = sorted(file.parent.name for file in folder.glob(f"*/{ADAPTER_CONFIG}"))
    return [name for name in found if not name.startswith("checkpoint-")]


def base_of(folder: Path) -> str:
    """The model that an adapter was made for, as it names it."""
    try:
        content = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{folder / ADAPTER_CONFIG} can't be read: {error}") from error
    name = content.get("base_model_name_or_path") if isinstance(content, dict) else None
    return str(name) if name else "a base model that it doesn't name"


def _has_weights(folder: Path) -> bool:
    patterns = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf", "*.index.json")
    others = (
        *ADAPTER_WEIGHTS,
        "training_args.bin",
        "optimizer.*",
        "scheduler.*",
        "rng_state*",
        *READ_BY_NOBODY,
    )
    return any(
        not any(fnmatch.fnmatch(file.name, other) for other in others)
        for pattern in patterns
        for file in folder.glob(pattern)
    )


def _pickles(folder: Path) -> list[str]:
    return [name for name in PICKLES if (folder / name).is_file()]


def _check_safetensors(folder: Path) -> None:
    shards = sorted(file.name for file in folder.iterdir() if SHARD.fullmatch(file.name))
    if (folder / SINGLE).is_file() and (folder / INDEX).is_file() and shards:
        raise ConfigurationError(
            f"{folder} holds two sets of weights, {SINGLE} and {len(shards)} shards with an index, of which only the "
            "first would be loaded: move one of them out of the folder"
        )
    files = weight_files(folder)
    if (folder / INDEX).is_file() and not files:
        raise ConfigurationError(
            f"{folder} has an {INDEX} and none of the files that it names: download it again"
        )
    if stray := [name for name in shards if files and name not in {file.name for file in files}]:
        why = f"{SINGLE} is taken" if (folder / SINGLE).is_file() else "the index does not name it"
        raise ConfigurationError(
            f"{folder} holds {stray[0]}, which would be left out, because {why}. If it is a part of another set of "
            "weights, move it out of the folder; else mend the index"
        )
    owner: dict[str, str] = {}
    for file in files:
        for tensor in read_names(file):
            if (other := owner.setdefault(tensor, file.name)) != file.name:
                raise ConfigurationError(
                    f"{folder}: the tensor {tensor} is in {other} and in {file.name}; one would hide the other. "
                    "Download or save the model again"
                )


def _check_pickles(folder: Path) -> None:
    index = folder / PICKLES[1]
    if (folder / PICKLES[0]).is_file():
        if index.is_file():
            raise ConfigurationError(
                f"{folder} holds two sets of weights, {PICKLES[0]} and {PICKLES[1]}, of which only the first would be "
                "loaded: move one of them out of the folder"
            )
        return
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError(f"{index} is not an index of weight files: {error}") from error
    if missing := sorted(name for name in names if not (folder / str(name)).is_file()):
        raise ConfigurationError(
            f"{folder} lacks {len(missing)} of the {len(names)} files that its index lists ({missing[0]} …): download "
            "it again"
        )
