"""Command lines as users of lmms-eval and InternVL type them, in Muster's own options."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

from muster.core import ConfigurationError
from muster.toolkits.options import VLMEVALKIT

AUTO = "auto"
"""InternVL's option that spreads a model over all GPUs."""


def translate(options: MutableMapping[str, object]) -> None:
    """Rewrite `auto`, lmms-eval's `--model WRAPPER --model_args pretrained=NAME,…` and `vlmevalkit:NAME`, in place.

    Raises:
        ConfigurationError: two options contradict each other.
    """
    args = options.get("model_args")
    args = dict(args) if isinstance(args, MutableMapping) else {}
    if "pretrained" in args:
        _name_the_model(options, args.pop("pretrained"))
        options["model_args"] = args
    if str(options.pop(AUTO, False)).lower() in ("true", "1"):
        if args.setdefault("device_map", "auto") != "auto":
            raise ConfigurationError(
                f"--auto is device_map=auto, and --model-args says device_map={args['device_map']}: leave one out"
            )
        options["model_args"] = args
    if str(options.get("model", "")).startswith(f"{VLMEVALKIT}:"):
        options.setdefault("backend", VLMEVALKIT)
    if options.get("backend") == VLMEVALKIT:
        options["model_args"] = {**_of_vlmevalkit(options), **args}


def _of_vlmevalkit(options: MutableMapping[str, object]) -> dict[str, object]:
    """Where its models are, and which generation settings are the user's: all workers have to know."""
    found = {
        "python": options.get("vlmevalkit_python"),
        "checkout": options.get("vlmevalkit_path"),
        "said": [
            name for name in ("max_new_tokens", "temperature", "top_p") if options.get(name) is not None
        ],
    }
    return {name: value for name, value in found.items() if value}


def _name_the_model(options: MutableMapping[str, object], name: object) -> None:
    """lmms-eval's `--model` is the class that loads the model; here the model's own files say that."""
    from muster.models.registry import list_backends

    wrapper = str(options.get("model", ""))
    if wrapper != name and ("/" in wrapper or wrapper == "demo" or Path(wrapper).is_dir()) and wrapper:
        raise ConfigurationError(
            f"--model {wrapper} and --model-args pretrained={name} name two models: leave one out"
        )
    options["model"] = str(name)
    if wrapper in list_backends():
        options.setdefault("backend", wrapper)
