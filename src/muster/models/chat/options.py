"""What `--model-args` mean to the chat backend, and which settings it can work with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from muster.core import JSON, ConfigurationError
from muster.models.protocol import ModelSettings
from muster.models.transformers.options import Options, parse_options
from muster.models.weights import check_weights

AUTO_CLASSES = ("AutoModel", "AutoModelForCausalLM", "AutoModelForImageTextToText", "AutoModelForVision2Seq")
"""Where a config.json names the model's class in its own code, the likeliest first."""


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """`--model-args`, sorted by who gets them."""

    loading: Options
    """What the transformers backend takes too; what it doesn't know goes to the model's `from_pretrained`."""
    min_num: int | None = None
    """These three, where they are given, in place of what the model's config.json says."""
    max_num: int | None = None
    use_thumbnail: bool | None = None


def chat_options(args: Mapping[str, JSON]) -> ChatOptions:
    """Sort `--model-args`. Raises `ConfigurationError` for contradictions and wrong values."""
    rest = dict(args)
    min_num, max_num = _count(rest, "min_num"), _count(rest, "max_num")
    if min_num is not None and max_num is not None and min_num > max_num:
        raise ConfigurationError(f"--model-args min_num={min_num} is more than max_num={max_num}")
    thumbnail = rest.pop("use_thumbnail", None)
    if thumbnail is not None and not isinstance(thumbnail, bool):
        raise ConfigurationError(f"--model-args use_thumbnail={thumbnail}: expected true or false")
    theirs = (name for name in rest if name.startswith(("processor_", "chat_template")))
    for name in ("preparation", *theirs):
        if name in rest:
            raise ConfigurationError(
                f"--model-args {name}: with --backend chat the model's own code makes the prompt, and images are cut "
                "into tiles by min_num, max_num and use_thumbnail"
            )
    if "batching" in rest:
        raise ConfigurationError(
            "--model-args batching: with --backend chat questions are asked one at a time"
        )
    # Refused by the transformers backend, as a spelling of other tools; InternVL's constructor has it.
    own = {name: rest.pop(name) for name in ("use_flash_attn",) if name in rest}
    loading = parse_options(rest)
    loading = replace(loading, model={**loading.model, **own})
    return ChatOptions(loading, min_num, max_num, thumbnail)


def check_settings(settings: ModelSettings) -> None:
    """Raise `ConfigurationError` unless the model has code of its own and the user lets it run.

    Reads config.json and nothing else, and runs none of that code. Of a hub id only the consent is looked at.
    """
    chat_options(settings.args)
    if settings.gpus_per_replica > 1 and settings.parallelism == "tensor":
        raise ConfigurationError(
            "--parallelism tensor: a model's own code can't be divided so; --backend chat takes "
            "--parallelism device-map"
        )
    folder = Path(settings.model)
    if folder.is_dir():
        class_reference(folder)
        check_weights(folder)
    if not settings.trust_remote_code:
        raise ConfigurationError(
            f"--backend chat runs Python code that comes with the model {settings.model}, with all that you may do "
            "here: read that code (its *.py files), then say --trust-remote-code"
        )


def class_reference(folder: Path) -> str:
    """Where the model's class is in its own code, `module.Class`. Raises `ConfigurationError` where it has none."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{folder / 'config.json'} can't be read: {error}") from error
    auto_map = config.get("auto_map") if isinstance(config, dict) else None
    for name in AUTO_CLASSES:
        reference = auto_map.get(name) if isinstance(auto_map, dict) else None
        if isinstance(reference, str):
            return reference
    raise ConfigurationError(
        f"{folder} has no Python code of its own (config.json names no class in auto_map), and --backend chat needs "
        "its chat method: leave --backend out"
    )


def _count(args: dict[str, JSON], name: str) -> int | None:
    value = args.pop(name, None)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ConfigurationError(f"--model-args {name}={value}: expected a number of tiles")
    return value
