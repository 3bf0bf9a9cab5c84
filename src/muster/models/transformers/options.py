"""What `--model-args` mean to the transformers backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from muster.core import JSON, ConfigurationError
from muster.models.protocol import ModelSettings
from muster.models.template_settings import take_template_settings
from muster.models.transformers.elsewhere import refuse_what_belongs_elsewhere
from muster.models.transformers.generation_fields import why_not
from muster.models.weights import MERGE, AdapterUse, check_weights, has_adapter

Preparation: TypeAlias = Literal["auto", "thread", "process"]
PREPARATIONS = ("auto", "thread", "process")
Batching: TypeAlias = Literal["auto", "continuous", "static"]
BATCHINGS = ("auto", "continuous", "static")

VideoForm: TypeAlias = Literal["auto", "video", "frames"]
"""How the model gets videos: `video`, through its processor's own video part; `frames`, as images; `auto`: as videos
where the processor and its chat template have them."""
VIDEO_FORMS = ("auto", "video", "frames")

PROCESSOR_PREFIX = "processor_"
GENERATION_PREFIX = "generation_"
PROCESSOR_ARGS = frozenset({"min_pixels", "max_pixels"})
"""Processor settings that people write without a prefix."""


@dataclass(frozen=True, slots=True)
class Options:
    """`--model-args`, sorted by who gets them."""

    dtype: str | None = None
    """A torch dtype's name, `auto` (the checkpoint's own), or None: auto on a GPU, float32 on a CPU."""
    device: str | None = None
    """`cpu`, `cuda`, `cuda:1` …; None: the first GPU that is visible, else the CPU."""
    device_map: JSON = None
    """As transformers takes it: layers to GPUs, the host's memory and the disk. Excludes `device`."""
    revision: str | None = None
    adapter: AdapterUse = "auto"
    """`off`: the weights without the adapter that lies beside them."""
    incomplete_weights: Literal["refuse", "allow"] = "refuse"
    """`allow`: what the checkpoint lacks is filled with random numbers, and said."""
    chat_template: str | None = None
    """A file with a Jinja chat template, in place of the model's own."""
    template_settings: Mapping[str, JSON] = field(default_factory=dict)
    """What the template is told: `chat_template.NAME`."""
    preparation: Preparation = "auto"
    """Where batches are prepared: in a thread of the replica or in a process beside it; auto goes by the cores."""
    video: VideoForm = "auto"
    batching: Batching = "auto"
    """Whether a row that has ended makes room for another at once (continuous), or when all have (static); auto is
    continuous where the model allows it."""
    image_cache: int = 0
    """Megabytes of the device's memory for features of images that were seen before; 0: none are kept."""
    quantization: Mapping[str, JSON] = field(default_factory=dict)
    """For `BitsAndBytesConfig`: load_in_4bit, load_in_8bit, bnb_4bit_…, llm_int8_…"""
    processor: Mapping[str, JSON] = field(default_factory=dict)
    """For `AutoProcessor.from_pretrained`: `min_pixels`, `max_pixels` and whatever starts with `processor_`."""
    generation: Mapping[str, JSON] = field(default_factory=dict)
    """For the model's generation config: whatever starts with `generation_`."""
    model: Mapping[str, JSON] = field(default_factory=dict)
    """Everything else, for `AutoModelForImageTextToText.from_pretrained`: attn_implementation, max_memory …"""


WEIGHTS_IN_ONE_PLACE = ("device_map", "max_memory", "offload_folder", "offload_buffers", "tp_plan", "tp_size")
"""Arguments that say where weights lie, which tensor parallelism decides itself."""


def check_settings(settings: ModelSettings) -> None:
    """Raise `ConfigurationError` for arguments that contradict each other or how the replica is divided."""
    options = parse_options(settings.args)
    folder, several = Path(settings.model), settings.gpus_per_replica > 1
    if folder.is_dir():
        check_folder(folder, options)
        if settings.parallelism == "tensor" and several and has_adapter(folder) and options.adapter == "auto":
            raise ConfigurationError(
                f"--parallelism tensor: the adapter in {folder} isn't divided with the model: {MERGE}"
            )
    if settings.parallelism == "tensor" and several:
        if options.batching == "continuous":
            raise ConfigurationError(
                "--model-args batching=continuous: with --parallelism tensor batches are static; leave it out"
            )
        given = [name for name in WEIGHTS_IN_ONE_PLACE if name in settings.args]
        if given:
            raise ConfigurationError(
                f"--model-args {', '.join(given)}: --parallelism tensor puts a part of every layer on each GPU itself; "
                "leave it out, or use --parallelism device-map"
            )
    elif "tp_plan" in settings.args or "tp_size" in settings.args:
        raise ConfigurationError("--model-args tp_plan: write --gpus-per-replica K --parallelism tensor")
    if several and options.device not in (None, "cuda", "cpu"):
        raise ConfigurationError(
            f"--model-args device={options.device} is one device, and --gpus-per-replica {settings.gpus_per_replica} "
            "asks for several: leave one of them out"
        )


def check_folder(folder: Path, options: Options) -> None:
    """Raise `ConfigurationError` for a model folder of which something would be left out, or is missing."""
    inner = options.model.get("subfolder")
    where = folder / inner if isinstance(inner, str) else folder
    if options.model.get("gguf_file") is None and options.model.get("variant") is None:
        check_weights(where, with_adapters=True, adapter=options.adapter)


def parse_options(args: Mapping[str, JSON]) -> Options:
    """Sort `--model-args`. Raises `ConfigurationError` for contradictions; unknown names go to the model."""
    refuse_what_belongs_elsewhere(args)
    rest = dict(args)
    if "torch_dtype" in rest:
        rest.setdefault("dtype", rest.pop("torch_dtype"))
    if "trust_remote_code" in rest:
        raise ConfigurationError("trust_remote_code is not a model argument: use --trust-remote-code")
    if rest.pop("weights_only", True) is not True:
        raise ConfigurationError(
            "--model-args weights_only: pickled weights are loaded as tensors and nothing else, because anything else "
            "in them could run code here; leave it out, and have the model saved as safetensors"
        )
    options = Options(
        dtype=_text(rest, "dtype"),
        device=_text(rest, "device"),
        device_map=_take_device_map(rest),
        revision=_text(rest, "revision"),
        adapter=cast("AdapterUse", one_of(rest, "adapter", ("auto", "off"))),
        incomplete_weights=cast(
            "Literal['refuse', 'allow']", one_of(rest, "incomplete_weights", ("refuse", "allow"))
        ),
        chat_template=_text(rest, "chat_template"),
        template_settings=take_template_settings(rest),
        preparation=cast("Preparation", one_of(rest, "preparation", PREPARATIONS)),
        batching=cast("Batching", one_of(rest, "batching", BATCHINGS)),
        image_cache=_megabytes(rest, "image_cache"),
        video=cast("VideoForm", one_of(rest, "video", VIDEO_FORMS)),
        quantization=_take_quantization(rest),
        processor=_take_processor(rest),
        generation=_take_generation(rest),
        model=rest,
    )
    if options.device is not None and options.device_map is not None:
        raise ConfigurationError("give either device or device_map in --model-args, not both")
    return options


def _megabytes(args: dict[str, JSON], name: str) -> int:
    value = args.pop(name, "off")
    if value in ("off", False):
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigurationError(f"--model-args {name}={value!r}: expected megabytes, or off")
    return value


def _text(args: dict[str, JSON], name: str) -> str | None:
    value = args.pop(name, None)
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"--model-args {name}={value!r}: expected a text")
    return value


def _take_device_map(args: dict[str, JSON]) -> JSON:
    """The map, and with it `max_memory`: JSON has no numbers as names, by which accelerate knows GPUs."""
    limits: Any = args.get("max_memory")
    if isinstance(limits, dict):
        args["max_memory"] = cast("JSON", {_place(name): limit for name, limit in limits.items()})
    elif limits is not None:
        raise ConfigurationError(
            f'--model-args max_memory={limits!r}: expected a limit per device, {{"0": "20GiB", "cpu": "64GiB"}}'
        )
    given = args.pop("device_map", None)
    if isinstance(given, dict):
        return {name: _place(where) if isinstance(where, str) else where for name, where in given.items()}
    return given


def _place(name: str) -> str | int:
    return int(name) if name.isdigit() else name


def one_of(args: dict[str, JSON], name: str, values: Sequence[str]) -> str:
    """One of `values`, of which the first is the default."""
    value = args.pop(name, values[0])
    if value not in values:
        raise ConfigurationError(f"--model-args {name}={value}: expected {', '.join(values)}")
    return cast("str", value)


def _take_quantization(args: dict[str, JSON]) -> dict[str, JSON]:
    names = [name for name in args if name.startswith(("load_in_", "bnb_4bit_", "llm_int8_"))]
    return {name: args.pop(name) for name in names}


def _take_processor(args: dict[str, JSON]) -> dict[str, JSON]:
    names = [name for name in args if name in PROCESSOR_ARGS or name.startswith(PROCESSOR_PREFIX)]
    return {name.removeprefix(PROCESSOR_PREFIX): args.pop(name) for name in names}


def _take_generation(args: dict[str, JSON]) -> dict[str, JSON]:
    names = [name for name in args if name.startswith(GENERATION_PREFIX)]
    taken = {name.removeprefix(GENERATION_PREFIX): args.pop(name) for name in names}
    for name in taken:
        if (reason := why_not(name)) is not None:
            raise ConfigurationError(f"--model-args {GENERATION_PREFIX}{name}: {reason}")
    return taken
