"""From names on the command line to backends and models. Imports neither torch nor transformers."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias, cast, get_args

from muster.core import JSON, ConfigurationError, MissingExtraError
from muster.core.plugins import add_working_directory, import_object
from muster.core.text import did_you_mean
from muster.models.protocol import Model, ModelKind, ModelSettings
from muster.models.weights import MERGE, base_of, has_adapter

Backend: TypeAlias = Callable[[ModelSettings], Model]


class Builtin(NamedTuple):
    """A backend that ships with Muster."""

    reference: str
    kind: ModelKind
    """As its class says, to be known without importing it."""
    summary: str
    gpus: bool = False
    """Whether it puts the model onto this machine's GPUs."""
    processes: bool = False
    """Whether it starts processes of its own, any of which may be lost."""


BUILTIN = {
    "anthropic": Builtin(
        "muster.models.anthropic:AnthropicModel", "served", "Claude, through Anthropic's API"
    ),
    "chat": Builtin(
        "muster.models.chat:ChatModel",
        "checkpoint",
        "models with a chat method in their own code, as InternVL; --trust-remote-code",
        gpus=True,
    ),
    "gemini": Builtin("muster.models.gemini:GeminiModel", "served", "Gemini, through Google's API"),
    "openai": Builtin(
        "muster.models.openai:OpenAIModel",
        "served",
        "any OpenAI-compatible server: vLLM, SGLang, llama.cpp, transformers serve, commercial ones",
    ),
    "replay": Builtin(
        "muster.models.replay:Replay", "any", "gives the answers of an earlier run again: --model RUN_FOLDER"
    ),
    "sglang-server": Builtin(
        "muster.models.servers:SglangServerModel",
        "checkpoint",
        "starts an SGLang server for each replica and asks it",
        gpus=True,
        processes=True,
    ),
    "transformers": Builtin(
        "muster.models.transformers:TransformersModel",
        "checkpoint",
        "loads the model here, with transformers; the default",
        gpus=True,
    ),
    "vlmevalkit": Builtin(
        "muster.toolkits.model:VlmevalkitModel",
        "any",
        "VLMEvalKit's own model classes, in their environment: --model vlmevalkit:NAME",
        gpus=True,
        processes=True,
    ),
    "vllm": Builtin(
        "muster.models.vllm.backend:VllmModel",
        "checkpoint",
        "loads the model here, in a vLLM engine",
        gpus=True,
        processes=True,
    ),
    "vllm-server": Builtin(
        "muster.models.servers:VllmServerModel",
        "checkpoint",
        "starts `vllm serve` for each replica and asks it; vLLM may live in an environment of its own",
        gpus=True,
        processes=True,
    ),
}
ENTRY_POINTS = "muster.models"
"""Where installed packages name theirs."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
WEIGHT_PATTERNS = ("*.safetensors", "*.bin", "*.safetensors.index.json", "*.gguf")


def list_backends() -> list[str]:
    """The names that `load_backend` knows: Muster's own and those of installed packages."""
    return sorted({*BUILTIN, *(entry.name for entry in importlib.metadata.entry_points(group=ENTRY_POINTS))})


def load_backend(name: str) -> Backend:
    """The backend's class (or factory) for a name, `module:Class` or `./file.py:Class`.

    Raises `ConfigurationError` where there is none, and `MissingExtraError` where what it needs isn't installed.
    """
    if ":" in name:
        return cast("Backend", import_object(name, "backend"))
    if name in BUILTIN:
        return cast("Backend", import_object(BUILTIN[name].reference, "backend"))
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS, name=name):
        return cast("Backend", import_object(entry.value, "backend"))
    known = list_backends()
    raise ConfigurationError(
        f"there is no backend {name!r}{did_you_mean(name, known) or '.'} Known: {', '.join(known) or 'none'}. "
        "A class of your own is given as module:Class or ./file.py:Class"
    )


def check_settings(backend: Backend, settings: ModelSettings) -> None:
    """Have the backend look at its settings before anything is started, where it has a `check`.

    Raises `ConfigurationError` for what it can't do.
    """
    check = getattr(backend, "check", None)
    if callable(check):
        check(settings)


def backend_source(name: str) -> str:
    """A digest of the file that a user's own backend (`module:Class` or `./file.py:Class`) is in; empty for others.

    Imports nothing, apart from the packages that hold a module. Raises `ConfigurationError` where there is no file.
    """
    module, colon, _attribute = name.rpartition(":")
    if not colon:
        return ""
    if module.endswith(".py") or "/" in module:
        file = Path(module).expanduser()
    else:
        add_working_directory()
        try:
            spec = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            spec = None
        file = Path(spec.origin if spec is not None and spec.origin is not None else module)
    try:
        return hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
    except OSError as error:
        raise ConfigurationError(f"backend {name}: cannot read {file} ({error.strerror or error})") from error


def model_kind(backend: Backend) -> ModelKind:
    """What `--model` means to a backend: its attribute `models`, `any` without one.

    Raises `ConfigurationError` for a kind that there isn't.
    """
    kind = getattr(backend, "models", "any")
    if kind not in get_args(ModelKind):
        name = getattr(backend, "__name__", backend)
        raise ConfigurationError(
            f"backend {name}: models = {kind!r} must be one of {', '.join(get_args(ModelKind))}"
        )
    return cast("ModelKind", kind)


def known_kind(name: str) -> ModelKind:
    """What `--model` means to a backend, as far as that is known without importing it: `any` for those of others."""
    return BUILTIN[name].kind if name in BUILTIN else "any"


def served_by(backend: Backend, args: Mapping[str, JSON]) -> Mapping[str, JSON] | None:
    """What a backend says of the servers of its model (`Declaration.identity`), or of who else has it.

    None where files on this machine are the model.
    """
    identity: Callable[[Mapping[str, JSON]], Mapping[str, JSON]] | None = getattr(backend, "identity", None)
    if identity is not None:
        return identity(args)
    return {} if model_kind(backend) == "served" else None


def uses_gpus(backend: str, args: Mapping[str, JSON]) -> bool:
    """Whether a backend of this name puts its model onto this machine's GPUs."""
    if args.get("device") == "cpu":
        return False
    if backend in BUILTIN:
        return BUILTIN[backend].gpus
    loaded = load_backend(backend)
    return bool(getattr(loaded, "uses_gpus", model_kind(loaded) != "served"))


def starts_processes(backend: str) -> bool:
    """Whether a backend of this name starts processes of its own, of which one may be lost alone."""
    if backend in BUILTIN:
        return BUILTIN[backend].processes
    return bool(getattr(load_backend(backend), "starts_processes", False))


def resolve_model(name: str, kind: ModelKind = "checkpoint") -> str:
    """What a backend loads for `--model NAME`, by what it takes (`model_kind`).

    The absolute path of a model folder or a hub id, which is not looked up here (`checkpoint`); the name as it is
    (`served`); an absolute path where there is such a file or folder, else the name (`any`). `demo` is the model that
    ships with Muster, but for `served`. Raises `ConfigurationError` for a path that isn't a model folder.
    """
    if kind == "served":
        return name
    if name == "demo":
        from muster.demo import demo_model_path

        return str(demo_model_path())
    path = Path(name).expanduser()
    if kind == "any":
        return str(path.resolve()) if path.exists() else name
    if path.is_dir():
        _check_model_folder(path)
        return str(path.resolve())
    if path.exists():
        raise ConfigurationError(
            f"--model {name} is a file; give the folder that holds the model's config.json, weights and processor"
        )
    if not HUB_ID.fullmatch(name):
        raise ConfigurationError(
            f"--model {name}: there is no such folder, and it can't be a hub id (those look like owner/name)"
        )
    return name


def require(extra: str, *modules: str) -> None:
    """Raise `MissingExtraError` unless all the modules can be imported; imports none of them."""
    for module in modules:
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:  # the package that it is a part of
            found = None
        if found is None:
            raise MissingExtraError(f"the {extra} backend (it imports {module})", extra)


def _check_model_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        extra = f". It holds an adapter of {base_of(folder)}: {MERGE}" if has_adapter(folder) else ""
        raise ConfigurationError(f"{folder} is not a model folder: config.json is missing{extra}")
    if not any(next(folder.glob(pattern), None) for pattern in WEIGHT_PATTERNS):
        raise ConfigurationError(
            f"{folder} is not a complete model folder: it has a config.json but no weights (*.safetensors)"
        )
