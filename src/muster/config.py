"""Everything that can be said about a run, from the command line, a file, the environment or Python."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from muster.compat_options import AUTO, translate
from muster.core import JSON, ConfigurationError
from muster.core.regular_files import regular
from muster.metrics.thinking import parse_thinking
from muster.wire.endpoint import LOOPBACK, Endpoint, parse_endpoint

ENVIRONMENT_PREFIX = "MUSTER_"
FOREIGN_VARIABLES = {"DIST_TIMEOUT": "rendezvous_timeout", "RAY_ADDRESS": "ray_address"}
"""Variables of other tools that set an option, below everything else."""


def parse_model_args(text: str) -> dict[str, JSON]:
    """`k=v,k=v` with values read as JSON where they are JSON, else as text; or one JSON object.

    Raises:
        ValueError: a part without `=`.
    """
    if text.lstrip().startswith("{"):
        parsed = json.loads(text)
        if not isinstance(parsed, dict):
            raise ValueError("must be k=v,k=v or a JSON object")
        return parsed
    args: dict[str, JSON] = {}
    for part in _split(text):
        name, separator, value = part.partition("=")
        if not separator or not name.strip():
            raise ValueError(f"{part!r} is not of the form name=value")
        args[name.strip()] = _value(value.strip())
    return _with_headers(args)


def _with_headers(args: dict[str, JSON]) -> dict[str, JSON]:
    """`extra_headers.NAME=value` as what it is short for, `extra_headers={"NAME": "value"}`."""
    prefix = "extra_headers."
    named: dict[str, JSON] = {
        name.removeprefix(prefix): args.pop(name) for name in list(args) if name.startswith(prefix)
    }
    if named:
        together = args.get("extra_headers")
        args["extra_headers"] = {**(together if isinstance(together, dict) else {}), **named}
    return args


def _split(text: str) -> list[str]:
    """At commas outside brackets and braces."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [part for part in [*parts, text[start:]] if part.strip()]


def _value(text: str) -> JSON:
    words: dict[str, JSON] = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    try:
        value: JSON = json.loads(text)
    except ValueError:
        return text
    return value


def _model_args(value: object) -> object:
    return parse_model_args(value) if isinstance(value, str) else value


def _names(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _count_or_share(value: object) -> object:
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            value = float(value)
    if isinstance(value, float) and not 0 <= value <= 1:
        raise ValueError("must be a whole number, or a fraction up to 1.0 (everything)")
    return value


def _batch_size(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _thinking(words: list[str] | None) -> list[str] | None:
    if words is not None:
        parse_thinking(words)
    return words


def _label(text: str | None) -> str | None:
    if text is not None and not (text.strip() and text.isprintable()):
        raise ValueError("must be a line of text")
    return None if text is None else text.strip()


def _endpoint(value: object) -> object:
    return parse_endpoint(value, default_host=LOOPBACK, default_port=0) if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_names)]
CountOrShare = Annotated[int | float, BeforeValidator(_count_or_share), Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]


class RunConfig(BaseModel):
    """One run. The names are those of the command line's options, with underscores."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model: str
    tasks: Names = Field(min_length=1)
    output: Path | None = None
    name: Annotated[str | None, AfterValidator(_label)] = None
    backend: str = "transformers"
    model_args: Annotated[dict[str, Any], BeforeValidator(_model_args)] = Field(default_factory=dict)
    trust_remote_code: bool = False
    data: Names = Field(default_factory=list)
    split: Names = Field(default_factory=list)
    prompt_variant: Names = Field(default_factory=list)
    video: Annotated[dict[str, Any], BeforeValidator(_model_args)] = Field(default_factory=dict)
    image: Annotated[dict[str, Any], BeforeValidator(_model_args)] = Field(default_factory=dict)
    limit: CountOrShare | None = None
    sample_ids: Names | None = None
    engine: Literal["auto", "inline", "local", "torchrun", "ray"] = "auto"
    ray_address: str | None = None
    replicas: int | None = Field(None, ge=0)
    gpus_per_replica: int | None = Field(None, ge=1)
    parallelism: Literal["device-map", "tensor"] | None = None
    listen: Annotated[Endpoint | None, BeforeValidator(_endpoint)] = None
    secret_file: Path | None = None
    schedule: Literal["dynamic", "contiguous", "strided"] = "dynamic"
    lengths_from: Annotated[list[Path], BeforeValidator(_names)] = Field(default_factory=list)
    collect: Literal["stream", "gather"] = "stream"
    dist_backend: Literal["auto", "nccl", "gloo"] = "auto"
    batch_size: Annotated[Annotated[int, Field(ge=1)] | Literal["auto"], BeforeValidator(_batch_size)] = (
        "auto"
    )
    max_in_flight: int | None = Field(None, ge=1)
    max_new_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = None
    repeats: int = Field(1, ge=1)
    scoring: Names | None = Field(None, min_length=1)
    thinking: Annotated[Names | None, AfterValidator(_thinking)] = Field(None, min_length=1)
    judge: str | None = None
    judge_backend: str | None = None
    judge_args: Annotated[dict[str, Any], BeforeValidator(_model_args)] = Field(default_factory=dict)
    max_failures: CountOrShare = 0
    worker_timeout: Seconds = 120.0
    request_timeout: Seconds = 600.0
    load_timeout: Seconds = 3600.0
    rendezvous_timeout: Seconds = 600.0
    run_timeout: Seconds | None = None
    progress: Literal["auto", "rich", "plain", "none"] = "auto"


def load_config(
    given: Mapping[str, object], file: Path | None = None, env: Mapping[str, str] = os.environ
) -> RunConfig:
    """Put a run's configuration together: `given` over the file over `MUSTER_…` variables over the defaults.

    `DIST_TIMEOUT` (seconds) is the rendezvous time-out where nothing else says one, as for VLMEvalKit, and
    `RAY_ADDRESS` the address of the Ray cluster.

    Raises:
        ConfigurationError: an unknown name or a value that doesn't fit; says which, and where it came from.
    """
    known = {*RunConfig.model_fields, AUTO}
    values: dict[str, object] = {}
    origin: dict[str, str] = {}
    for variable, name in FOREIGN_VARIABLES.items():
        if env.get(variable):
            values[name], origin[name] = env[variable], variable
    for name in known:
        variable = ENVIRONMENT_PREFIX + name.upper()
        if variable in env:
            values[name], origin[name] = env[variable], variable
    for name, value in _read_file(file).items():
        values[name], origin[name] = value, str(file)
    for name, value in given.items():
        if value is not None:
            values[name], origin[name] = value, f"--{name.replace('_', '-')}"
    if isinstance(args := values.get("model_args"), str):
        with suppress(ValueError):  # explained by the validation
            values["model_args"] = parse_model_args(args)
    try:
        translate(values)
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_explain(error, origin))) from None
    if config.secret_file is not None and config.listen is None:
        raise ConfigurationError(
            f"{origin['secret_file']} is for a run that machines may join: say where, with --listen, or leave it out"
        )
    return config


def _read_file(file: Path | None) -> dict[str, object]:
    if file is None:
        return {}
    try:
        content = yaml.safe_load(regular(file).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"cannot read the configuration file {file}: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ConfigurationError(f"{file}: must be a mapping of option names to values")
    return {name.lstrip("-").replace("-", "_"): value for name, value in content.items()}


def _explain(error: ValidationError, origin: Mapping[str, str]) -> list[str]:
    lines = []
    for problem in error.errors():
        name = str(problem["loc"][0]) if problem["loc"] else ""
        where = origin.get(name, f"--{name.replace('_', '-')}")
        if problem["type"] == "missing":
            lines.append(f"--{name.replace('_', '-')} is required")
        elif problem["type"] == "extra_forbidden":
            lines.append(f"{where}: there is no option {name!r}; see `muster run --help`")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{where}: {message} (got {problem['input']!r})")
    return list(dict.fromkeys(lines))
