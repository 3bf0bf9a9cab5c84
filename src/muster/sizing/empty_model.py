"""The tensors of a model of which only the configuration is there: transformers builds it without memory.

Run as a program in a process of its own, because torch and transformers take seconds and hundreds of megabytes that a
plan otherwise doesn't need. Exact by construction: it is the class that `muster run` would load.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import cast

import msgspec

from muster.core import ConfigurationError, MissingExtraError
from muster.core.own_python import own_module
from muster.sizing.checkpoint import Checkpoint, Tensor

TIME_LIMIT = 300.0
"""Seconds. Importing transformers takes 5 to 30, building the largest models another few."""


def with_tensors(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with the tensors that its configuration describes, in the dtype that it names.

    Raises:
        MissingExtraError: transformers isn't installed.
        ConfigurationError: transformers doesn't know the architecture, or it needs code that comes with the model.
    """
    name = checkpoint.name
    for module in ("torch", "transformers"):
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(
                f"counting the parameters of {name}, which has no safetensors files here,", "transformers"
            )
    with tempfile.TemporaryDirectory(prefix="muster-plan-") as folder:
        (Path(folder) / "config.json").write_text(json.dumps(checkpoint.config), encoding="utf-8")
        try:
            done = subprocess.run(
                own_module("muster.sizing.empty_model", folder),
                capture_output=True,
                timeout=TIME_LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ConfigurationError(
                f"transformers didn't build {name} from its config.json in {TIME_LIMIT:.0f} s"
            ) from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise ConfigurationError(
            f"{name} has no safetensors files here, and transformers can't build it from its config.json alone: "
            f"{reason[-1] if reason else 'it said nothing'}. Give a folder with its *.safetensors"
        )
    tensors = msgspec.json.decode(done.stdout.splitlines()[-1], type=list[Tensor])
    note = "no safetensors files: counted on the model that transformers builds from config.json, without its weights"
    return replace(checkpoint, tensors=tuple(tensors), notes=(*checkpoint.notes, note))


def main(folder: str) -> None:
    """Print the parameters of the model that `folder`'s config.json describes, as JSON."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    try:
        config = transformers.AutoConfig.from_pretrained(folder)
        dtype = config.dtype or config.get_text_config().dtype or torch.float32
        with torch.device("meta"):
            model = transformers.AutoModelForImageTextToText.from_config(config, dtype=dtype)
    except Exception as error:  # noqa: BLE001  # an unknown architecture, a broken configuration: for the parent to say
        sys.exit(str(error).strip().partition("\n")[0])
    sys.stdout.write("\n" + msgspec.json.encode(tensors_of(cast("torch.nn.Module", model))).decode() + "\n")


def tensors_of(model: object) -> list[Tensor]:
    """The parameters of a torch module, each once."""
    import torch

    assert isinstance(model, torch.nn.Module)
    names = {
        torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float64: "F64",
        torch.float8_e4m3fn: "F8_E4M3",
    }  # fmt: skip
    return [Tensor(name, names.get(p.dtype, "F32"), tuple(p.shape)) for name, p in model.named_parameters()]


if __name__ == "__main__":
    main(sys.argv[1])
