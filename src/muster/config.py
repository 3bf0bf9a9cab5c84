"""Everything that can be said about a run, from the command line, a file, the environment or Python."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from muster.compat_options import AUTO, translate
from muster.core import ConfigurationError
from muster.core.choices import CollectMode, Parallelism, ProcessGroup, Schedule
from muster.core.regular_files import regular
from muster.metrics.thinking import parse_thinking
from muster.settings_text import parse_model_args
from muster.wire.endpoint import LOOPBACK, Endpoint, parse_endpoint

ENVIRONMENT_PREFIX = "MUSTER_"
FOREIGN_VARIABLES = {"DIST_TIMEOUT": "rendezvous_timeout", "RAY_ADDRESS": "ray_address"}
"""Variables of other tools that set an option, below everything else."""


def _settings(value: object) -> object:
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
Settings = Annotated[dict[str, Any], BeforeValidator(_settings)]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]

Panel = Literal[
    "What is asked", "How much", "Generation", "Where", "How fast", "Scoring", "Time-outs", "Output"
]
"""The groups of options in `muster run --help`, in their order."""


def _option(panel: Panel, text: str, default: Any = ..., **constraints: Any) -> Any:
    """A field with what `muster run --help` says of it. Without a default it must be given."""
    return Field(default, description=text, json_schema_extra={"panel": panel}, **constraints)


_what = partial(_option, "What is asked")
_how_much = partial(_option, "How much")
_generation = partial(_option, "Generation")
_where = partial(_option, "Where")
_how_fast = partial(_option, "How fast")
_scoring = partial(_option, "Scoring")
_time_out = partial(_option, "Time-outs")
_output = partial(_option, "Output")


class RunConfig(BaseModel):
    """One run. The fields are the options of `muster run`: names, help and defaults are said here and nowhere else."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), defer_build=True)

    model: str = _what("A local folder or hub id; `demo` is the small model that ships with Muster.")
    tasks: Names = _what(
        "Names, groups or files, separated by commas: digits,./my_benchmark.yaml", min_length=1
    )
    backend: str = _what(
        "What loads the model or asks for it: a name that `muster models` lists, module:Class or ./file.py:Class.",
        "transformers",
    )
    model_args: Settings = _what(
        "Handed to the backend: dtype=bfloat16,device_map=auto,…", default_factory=dict
    )
    trust_remote_code: bool = _what("Run Python code that comes with the model.", False)
    data: Names = _what(
        "Where benchmarks' files are: DIR for all, TASK=DIR for one task's, separated by commas.",
        default_factory=list,
    )
    split: Names = _what(
        "Another split of the tasks' datasets: NAME, or TASK=NAME for one task.", default_factory=list
    )
    prompt_variant: Names = _what(
        "Another of the tasks' prompts: NAME, or TASK=NAME for one task.", default_factory=list
    )
    video: Settings = _what(
        "What is shown of videos: frames=32,sampling=uniform,max_pixels=… (docs/video.md).",
        default_factory=dict,
    )
    image: Settings = _what(
        "How images are opened: transparency=drop,max_pixels=…,limit=… (docs/models.md).",
        default_factory=dict,
    )
    lmms_eval_python: str | None = _what(
        "The Python that has lmms-eval, for tasks lmms-eval:NAME (default: Muster's own).", None
    )
    lmms_eval_model: str | None = _what(
        "The model class whose own prompts and settings lmms-eval's tasks take, where they have any.", None
    )
    include_path: Names = _what(
        "Folders of your own tasks for lmms-eval, separated by commas.", default_factory=list
    )
    vlmevalkit_python: str | None = _what(
        "The Python that has VLMEvalKit, for tasks vlmevalkit:NAME (default: Muster's own).", None
    )
    vlmevalkit_path: str | None = _what(
        "A checkout of VLMEvalKit, where that Python hasn't got it installed.", None
    )

    limit: CountOrShare | None = _how_much("First N samples of each task, or that fraction (0.1).", None)
    sample_ids: Names | None = _how_much("Only these samples: id,id or task/id,…", None)
    repeats: Count = _how_much("Answers per sample.", 1)
    max_failures: CountOrShare = _how_much(
        "Errored samples, or their fraction, tolerated before the exit code is 3.", 0
    )

    generation_variant: str | None = _generation(
        "Settings that a report uses: qwen3_vl_thinking (docs/benchmarks.md); the options below go before it.",
        None,
    )
    max_new_tokens: Count | None = _generation("Instead of the task's.", None)
    temperature: float | None = _generation("Instead of the task's; 0 is greedy.", None, ge=0)
    top_p: float | None = _generation("Instead of the task's.", None, gt=0, le=1)
    seed: int | None = _generation("Of sampled generation (default 0).", None)
    thinking: Annotated[Names | None, AfterValidator(_thinking)] = _generation(
        "Tags around what a model thinks: auto (those in use, default), none, or <t>...</t> (docs/metrics.md).",
        None,
        min_length=1,
    )

    engine: str = _where(
        "What starts the replicas: auto, inline, local, torchrun, ray, module:function or ./file.py:function.",
        "auto",
    )
    replicas: int | None = _where(
        "Data-parallel replicas of the model (default: as many as fit); 0 with --listen: only those that join.",
        None,
        ge=0,
    )
    gpus_per_replica: Count | None = _where("GPUs that one copy of the model takes (default 1).", None)
    parallelism: Parallelism | None = _where(
        "How these share it: device-map (layers, one process; default) or tensor (K processes).", None
    )
    ray_address: str | None = _where(
        "With --engine ray: a cluster's HOST:PORT, or `auto` on one of its nodes (default: RAY_ADDRESS, else a Ray "
        "that is started here).",
        None,
    )
    listen: Annotated[Endpoint | None, BeforeValidator(_endpoint)] = _where(
        "HOST[:PORT] where machines may join with `muster worker --join` (127.0.0.1: this one alone; 0.0.0.0: all "
        "addresses).",
        None,
    )
    secret_file: Path | None = _where(
        "With --listen: a file with the secret that joining takes (default: one is made, in the run folder).",
        None,
    )

    batch_size: Annotated[Count | Literal["auto"], BeforeValidator(_batch_size)] = _how_fast(
        "Requests in a static batch, or auto: as many as fit.", "auto"
    )
    max_in_flight: Count | None = _how_fast(
        "Requests at the same time, for backends without static batches.", None
    )
    schedule: Schedule = _how_fast(
        "One queue, longest request first, or a share for each replica from the start.", "dynamic"
    )
    lengths_from: Annotated[list[Path], BeforeValidator(_names)] = _how_fast(
        "Earlier runs, of any model, whose answer lengths tell what to start first.", default_factory=list
    )
    collect: CollectMode = _how_fast(
        "Each answer at once, or all over the process group at the end.", "stream"
    )
    dist_backend: ProcessGroup = _how_fast("The process group of --collect gather.", "auto")

    scoring: Names | None = _scoring(
        "Scoring variants: lmms-eval, or several, or all (default: the task's own).",
        None,
        min_length=1,
    )
    judge: str | None = _scoring(
        "The model that judges answers, where a task's scores need one (MM-Vet, …).", None
    )
    judge_backend: str | None = _scoring(
        "Backend of the judge (default openai: any compatible server).", None
    )
    judge_args: Settings = _scoring(
        "Handed to it: base_url=http://…/v1,api_key_env=NAME,max_new_tokens=2048,…", default_factory=dict
    )

    worker_timeout: Seconds = _time_out(
        "Seconds of silence after which a worker's samples go to the others.", 120.0
    )
    request_timeout: Seconds = _time_out(
        "Seconds without an answer after which a replica is taken for stuck.", 600.0
    )
    load_timeout: Seconds = _time_out("Seconds that loading the model may take.", 3600.0)
    rendezvous_timeout: Seconds = _time_out("Seconds that ranks wait for each other at the start.", 600.0)
    run_timeout: Seconds | None = _time_out(
        "Seconds after which the run stops, resumable, with exit code 124 (default: never).", None
    )

    output: Path | None = _output(
        "The run folder; resumes when it holds part of the same run (default: runs/MODEL-TIME).", None
    )
    name: Annotated[str | None, AfterValidator(_label)] = _output(
        "What tables, comparisons and reports call the run, instead of its model.", None
    )
    sink: Names = _output(
        "Send the results to a tracker at the end: mlflow[:EXPERIMENT], wandb[:PROJECT], tensorboard[:FOLDER] "
        "(docs/sinks.md).",
        default_factory=list,
    )
    sink_step: int | None = _output(
        "With --sink: the step of the training that the model comes from.", None, ge=0
    )
    events: Path | None = _output(
        "Append what happens to this file, as lines of JSON for machines (docs/events.md).", None
    )
    progress: Literal["auto", "rich", "plain", "none"] = _output("Bars, or lines for a log.", "auto")


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
    import yaml

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
