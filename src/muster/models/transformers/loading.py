"""Loading a model's weights onto its device, quietly."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from transformers import AutoModelForImageTextToText

from muster.core import JSON, ConfigurationError, ReplicaError
from muster.models.transformers.adapters import add_adapter, without_adapter
from muster.models.transformers.compiler import no_compiler
from muster.models.transformers.device_errors import classify
from muster.models.transformers.generation_settings import OwnSettings, loadable_settings, settle
from muster.models.transformers.interfaces import Processor, VisionLanguageModel
from muster.models.transformers.options import Options, check_folder
from muster.models.transformers.processor import load_processor
from muster.models.transformers.quiet import quiet
from muster.models.transformers.tensor.division import divide_tied_output
from muster.models.transformers.unloadable import why_unloadable
from muster.models.weights import described, has_adapter

CHANGES_OTHERS = re.compile(
    r"lora_|\.base_layer\.|modules_to_save|original_module|\.(qweight|qzeros|scales|weight_scale\w*|absmax|quant_state\b)"
)
"""Names of tensors that are nothing by themselves: they change or unpack another."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready to generate, with its processor."""

    model: VisionLanguageModel
    processor: Processor
    context_limit: int | None
    """Tokens of prompt and answer together, where the model says."""
    devices: tuple[torch.device, ...]
    """Those that compute, in the model's order; inputs go to the first."""
    own: OwnSettings
    """What the model's generation settings say of the end of answers."""
    weights: str = ""
    """What was loaded and what wasn't, where the folder leaves a choice."""
    links: object = None
    """Kept as long as the model, whose weights may rest on disk."""

    @property
    def input_device(self) -> torch.device:
        """Where inputs go."""
        return self.devices[0]


def load(
    folder: Path, options: Options, *, trust_remote_code: bool, gpus: int = 1, tensor_parallel: int = 1
) -> Loaded:
    """Load what a folder holds. Raises `ConfigurationError` for what the user can change.

    The layers are spread over as many `gpus`; or `tensor_parallel` processes, this one among them, each load a part of
    every layer. They are this process's default process group.
    """
    check_folder(folder, options)
    with quiet(), no_compiler():
        processor = load_processor(folder, options, trust_remote_code=trust_remote_code)
        device = _device(options.device)
        if tensor_parallel > 1:
            divide_tied_output(folder, trust_remote_code=trust_remote_code)
        placement = _divided(tensor_parallel) if tensor_parallel > 1 else _placement(options, device, gpus)
        settings, unread = loadable_settings(folder)
        if settings is not None and not has_own_generate(folder):
            placement["generation_config"] = settings
        files, links = without_adapter(folder) if has_adapter(folder) else (folder, None)
        model, lacking = _load_model(files, options, device, placement, trust_remote_code, named=folder)
        if links is not None and options.adapter == "auto":
            add_adapter(model, folder)
        own = settle(model.generation_config, processor.tokenizer, options.generation, unread)
    return Loaded(
        cast("VisionLanguageModel", model.eval()),
        processor,
        context_limit(model),
        _computing_devices(model),
        own,
        ", ".join(filter(None, (lacking, described(folder, options.adapter)))),
        links,
    )


def has_own_generate(folder: Path) -> bool:
    """Whether the folder brings a `generate`, which transformers takes only with settings that it reads itself."""
    return (folder / "custom_generate" / "generate.py").is_file()


def _placement(options: Options, device: torch.device, gpus: int) -> dict[str, object]:
    if options.device_map is not None:
        return {"device_map": options.device_map}
    if gpus > 1 and options.device is None and device.type == "cuda":
        return {"device_map": "auto"}
    # Straight onto the device, without a copy of the model in the host's memory.
    return {} if device.type == "cpu" else {"device_map": {"": str(device)}}


def _divided(size: int) -> dict[str, object]:
    try:
        from transformers.distributed import DistributedConfig

        return {"distributed_config": DistributedConfig(tp_size=size)}
    except (ImportError, TypeError) as error:
        raise ConfigurationError(
            f"--parallelism tensor needs a newer transformers, this is {transformers.__version__} (5.23 is known to "
            "work): upgrade it, or use --parallelism device-map"
        ) from error


def _computing_devices(model: Any) -> tuple[torch.device, ...]:
    """The devices of a model that may be spread: layers that rest in the host's memory or on disk compute elsewhere."""
    places = getattr(model, "hf_device_map", {}).values()
    computing = dict.fromkeys(place for place in places if place not in ("cpu", "disk"))
    if computing:
        return tuple(
            torch.device("cuda", place) if isinstance(place, int) else torch.device(place)
            for place in computing
        )
    return (torch.device("cpu"),) if places else (model.device,)


def _load_model(
    folder: Path,
    options: Options,
    device: torch.device,
    placement: dict[str, object],
    trust_remote_code: bool,
    *,
    named: Path,
) -> tuple[Any, str]:
    """The model, and what its weights lack or have beside what it takes. `named`: the folder as the user knows it."""
    if options.quantization:
        placement["quantization_config"] = _quantization(options.quantization)
    dtype = options.dtype or ("float32" if device.type == "cpu" else "auto")
    try:
        model, report = AutoModelForImageTextToText.from_pretrained(
            folder,
            dtype=_dtype(dtype),
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            **placement,
            **options.model,
        )
    except ConfigurationError:
        raise
    except Exception as error:
        raise explained(error, named, options) from error
    return model, check_complete(named, report, allow=options.incomplete_weights == "allow")


def explained(error: Exception, folder: Path, options: Options) -> Exception:
    """What to tell the user when the weights can't be loaded."""
    meaning = classify(error)
    if meaning == "broken device":
        return ReplicaError(f"the device failed while the model in {folder} was loaded: {error}")
    if meaning == "out of memory":
        return ConfigurationError(
            f"the model in {folder} doesn't fit on the device: {error}. Give each replica more GPUs "
            "(--gpus-per-replica), or --model-args load_in_8bit=true"
        )
    given = ", ".join(f"{name}={value}" for name, value in options.model.items())
    hint = f" (--model-args handed to it: {given})" if given else ""
    return ConfigurationError(f"the model in {folder} can't be loaded: {why_unloadable(error, folder)}{hint}")


def check_complete(folder: Path, report: Mapping[str, Any], *, allow: bool = False) -> str:
    """Refuse weights that lack parameters: transformers would fill those with random numbers and go on.

    `report`: `from_pretrained`'s loading info. Returns in words what was passed over, which with `allow` is anything.
    """
    lacking = sorted(
        {*report.get("missing_keys", ()), *(each[0] for each in report.get("mismatched_keys", ()))}
    )
    surplus = sorted(report.get("unexpected_keys", ()))
    changing = [name for name in surplus if CHANGES_OTHERS.search(name)]
    if lacking and not allow:
        raise ConfigurationError(
            f"the weights in {folder} lack {len(lacking)} of the model's parameters ({', '.join(lacking[:3])} …); "
            "the checkpoint is incomplete or belongs to another architecture than its config.json says "
            "(--model-args incomplete_weights=allow fills them with random numbers)"
        )
    if changing and not allow:
        raise ConfigurationError(
            f"the weights in {folder} hold {len(changing)} tensors that belong to others, and would be left out "
            f"({', '.join(changing[:3])} …): an adapter that was not merged, or quantised weights without their "
            "quantization_config. Save the model merged, or with its whole config.json"
        )
    return ", ".join(
        f"{len(names)} {what} ({names[0]}{' …' if len(names) > 1 else ''})"
        for names, what in ((lacking, "parameters are random"), (surplus, "tensors are no part of the model"))
        if names
    )


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigurationError(f"--model-args device={name} is not a device: {error}") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigurationError(
            f"--model-args device={name}: this process sees {torch.cuda.device_count()} GPUs"
        )
    return device


def _dtype(name: str) -> torch.dtype | str:
    if name == "auto":
        return name
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ConfigurationError(f"--model-args dtype={name}: expected auto, bfloat16, float16 or float32")
    return dtype


def _quantization(settings: Mapping[str, JSON]) -> object:
    if importlib.util.find_spec("bitsandbytes") is None:
        names = ", ".join(settings)
        raise ConfigurationError(
            f"--model-args {names}: quantisation needs bitsandbytes (pip install bitsandbytes)"
        )
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(**settings)


def context_limit(model: Any) -> int | None:
    """Tokens of prompt and answer together, where the model's configuration says."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None
