"""What `--model-args` mean to backends that start a server."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from muster.core import JSON, ConfigurationError
from muster.models.api.options import Positive, parse_options
from muster.models.openai.backend import OpenAIOptions
from muster.models.protocol import ModelSettings
from muster.models.vllm.options import check_recorded
from muster.models.weights import check_weights

DECIDED = {
    "base_url": "the address is chosen by this backend; for a server that runs already: --backend openai",
    "api_key_env": "the key is made for each server; for a server that runs already: --backend openai",
    "extra_headers": "it serves this run alone; for a server that runs already: --backend openai",
    "wait_for_server": "write ready_timeout=SECONDS",
    "tensor_parallel_size": "write --gpus-per-replica K --parallelism tensor",
    "data_parallel_size": "write --replicas N",
    "tp_size": "write --gpus-per-replica K --parallelism tensor",
    "dp_size": "write --replicas N",
}
TAKEN = frozenset(
    {"--host", "--port", "--api-key", "--served-model-name", "--model", "--model-path", "--config", "--uds"}
    | {
        "--tensor-parallel-size",
        "-tp",
        "--tp",
        "--tp-size",
        "--data-parallel-size",
        "-dp",
        "--dp",
        "--dp-size",
    }
)
"""Arguments of servers that this backend gives itself."""


class ServerOptions(OpenAIOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`--model-args` of these backends: the openai backend's, and how the server is started."""

    command: str | list[str] | None = None
    """The server's program, with what stands before its arguments; None: `vllm` on the PATH, or this Python."""
    python: str | None = None
    """The interpreter of the environment that the server is installed in."""
    server_args: dict[str, Any] | list[str] | str = ""
    """For the server's command line: as it is typed there, or by name."""
    ready_timeout: Positive = 1800.0
    """Seconds until the server must answer: it may have to load hundreds of gigabytes."""
    revision: str | None = None
    batch_invariant: bool = False
    """Whether an answer may not depend on what else is in the batch."""


def server_options(args: Mapping[str, JSON]) -> ServerOptions:
    """`--model-args`. Raises `ConfigurationError` for what it doesn't know and for what this backend decides."""
    for name in args:
        if name in DECIDED:
            raise ConfigurationError(f"--model-args {name}: {DECIDED[name]}")
    options = parse_options(args, ServerOptions)
    if options.command is not None and options.python is not None:
        raise ConfigurationError("--model-args: give either command or python, not both")
    for word in words(options.server_args):
        name = word.partition("=")[0]
        if name in TAKEN:
            raise ConfigurationError(f"--model-args server_args: {name} is decided by Muster; leave it out")
    return options


def check_settings(settings: ModelSettings) -> None:
    """Raise `ConfigurationError` for settings that can't work."""
    check_recorded(batch_invariant=server_options(settings.args).batch_invariant)
    if (folder := Path(settings.model)).is_dir():
        check_weights(folder)


def words(arguments: dict[str, Any] | list[str] | str) -> list[str]:
    """Arguments as words of a command line.

    By name: underscores become dashes, true is the bare flag, false the flag's negation (`--no-…`), null leaves it out,
    objects become JSON.
    """
    if isinstance(arguments, str):
        return shlex.split(arguments)
    if isinstance(arguments, list):
        return arguments
    found: list[str] = []
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if value is True:
            found.append(f"--{flag}")
        elif value is False:
            found.append(f"--no-{flag}")
        elif value is not None:
            found += [f"--{flag}", _word(value)]
    return found


def _word(value: object) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value)
