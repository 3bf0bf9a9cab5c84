"""How each kind of server is started, so that it serves one model on the loopback to whoever has the key.

Sources: `vllm serve --help` of vLLM 0.32; SGLang's server arguments (docs.sglang.io, Server Arguments), not tried.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from muster.core import ConfigurationError
from muster.models.protocol import ModelSettings
from muster.models.servers.options import ServerOptions, words
from muster.models.vllm.options import INVARIANT

LOOPBACK = "127.0.0.1"
SERVED_NAME = "model"
"""What the server calls the model, whatever its folder is."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. The key is in the environment or in a file, since everybody can read command lines."""

    words: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Text by name; written where nobody else can read them. `{NAME}` in `words` becomes the path."""


class Kind(Protocol):
    """One kind of server."""

    name: str

    def command(self, settings: ModelSettings, options: ServerOptions, port: int, key: str) -> Command:
        """How to start it. Raises `ConfigurationError` where its program isn't there."""
        ...


class Vllm:
    """`vllm serve`."""

    name = "vllm serve"

    def command(self, settings: ModelSettings, options: ServerOptions, port: int, key: str) -> Command:
        """See `Kind`."""
        program = _given(options) or [_beside(options.python, "vllm")]
        serve = [] if program[-1] == "serve" else ["serve"]
        line = [*program, *serve, settings.model, "--host", LOOPBACK, "--port", str(port)]
        line += ["--served-model-name", SERVED_NAME, "--tensor-parallel-size", str(settings.gpus_per_replica)]
        # Else the model's own sampling settings would stand in for those that a request leaves out.
        line += ["--generation-config", "vllm", "--seed", str(settings.seed)]
        line += _common(settings, options)
        env = {"VLLM_API_KEY": key, **({INVARIANT: "1"} if options.batch_invariant else {})}
        return Command((*line, *words(options.server_args)), env)


class Sglang:
    """`python -m sglang.launch_server`."""

    name = "SGLang"

    def command(self, settings: ModelSettings, options: ServerOptions, port: int, key: str) -> Command:
        """See `Kind`. The key stands in a configuration file: there is no variable for it."""
        program = _given(options) or [options.python or sys.executable, "-m", "sglang.launch_server"]
        line = [*program, "--model-path", settings.model, "--host", LOOPBACK, "--port", str(port)]
        line += ["--served-model-name", SERVED_NAME, "--tp-size", str(settings.gpus_per_replica)]
        line += ["--random-seed", str(settings.seed), "--sampling-defaults", "openai"]
        line += _common(settings, options)
        line += ["--config", "{config.yaml}"]
        line += ["--enable-deterministic-inference"] if options.batch_invariant else []
        return Command((*line, *words(options.server_args)), files={"config.yaml": f"api-key: {key}\n"})


def _given(options: ServerOptions) -> list[str]:
    if options.command is None:
        return []
    program = shlex.split(options.command) if isinstance(options.command, str) else list(options.command)
    if not program or shutil.which(program[0]) is None:
        raise ConfigurationError(
            f"--model-args command={options.command}: there is no such program, or it may not be run"
        )
    return program


def _beside(python: str | None, name: str) -> str:
    """A program of the environment of an interpreter; where none is named, of this one or on the PATH."""
    beside = Path(python or sys.executable).expanduser().parent / name
    if beside.is_file():
        return str(beside)
    if python is not None:
        raise ConfigurationError(
            f"--model-args python={python}: there is no {beside}; is {name} installed there?"
        )
    found = shutil.which(name)
    if found is None:
        raise ConfigurationError(
            f"there is no program {name!r} on the PATH: install it (an environment of its own will do), and say where "
            f"with --model-args python=ENVIRONMENT/bin/python, or command=PATH_OF_{name.upper()}"
        )
    return found


def _common(settings: ModelSettings, options: ServerOptions) -> list[str]:
    line = ["--trust-remote-code"] if settings.trust_remote_code else []
    return [*line, "--revision", options.revision] if options.revision is not None else line
