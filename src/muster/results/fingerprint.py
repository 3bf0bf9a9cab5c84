"""What decides the answers of a run, as digests: two runs with equal fingerprints may share a journal."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import msgspec

from muster.core import JSON, ConfigurationError, Generation, ImageSettings, VideoSettings
from muster.models.registry import backend_source
from muster.models.weights import deciding_versions
from muster.results.folder import RunFolder
from muster.results.redaction import is_secret_name, redact
from muster.tasks.definition import Task

NEUTRAL_ARGS = frozenset(
    # where it runs
    {"device", "device_map", "max_memory", "offload_folder", "offload_state_dict", "offload_buffers"}
    | {"tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "distributed_executor_backend"}
    | {"gpu_memory_utilization", "swap_space", "cpu_offload_gb", "low_cpu_mem_usage", "tp_plan"}
    # how much at a time
    | {"batch_size", "max_batch_size", "max_num_seqs", "max_num_batched_tokens", "max_in_flight"}
    | {"num_workers", "prefetch", "workers", "preparation", "batching"}
    # how it is reached and how long to wait
    | {
        "base_url",
        "api_base",
        "host",
        "port",
        "timeout",
        "request_timeout",
        "max_retries",
        "headers",
        "extra_headers",
    }
    | {"connect_timeout", "wait_for_server", "price_input", "price_output"}
    | {"command", "python", "checkout", "ready_timeout"}
    # where files come from and what is logged
    | {"cache_dir", "download_dir", "local_files_only", "force_download"}
    | {"disable_log_stats", "disable_log_requests", "verbose"}
    # stands in the fingerprint by itself
    | {"revision"}
)
"""Model arguments that may differ between the attempts of one run. All others count as changing answers."""

_MAY_BE_UNKNOWN = frozenset({"commit", "backend_code", "code"})
SAMPLED_BYTES = 1 << 20
"""How much of a weight file is read at its beginning, middle and end."""

_SETTINGS_FILES = [
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "*tokenizer*.json",
    "*tokenizer*.model",
    "*processor*.json",
    "chat_template*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.tiktoken",
    "*.jinja",
    "*.py",
    "spiece.model",
    "sentencepiece*",
    "quantize_config.json",
    "additional_chat_templates/*.jinja",
]
_WEIGHT_FILES = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf", "*.h5", "*.onnx")
_TRAINING_STATE = ("training_args*", "optimizer*", "scheduler*", "rng_state*", "scaler*")


def model_fingerprint(
    model: str, backend: str, args: Mapping[str, JSON], served_by: Mapping[str, JSON] | None = None
) -> dict[str, JSON]:
    """What decides a model's answers: its files or its hub revision, the backend and the arguments that matter.

    `served_by`: what the backend says of the servers that have the model; None where it isn't served. Of a served
    one the name is all there is to know: files of that name on this machine have nothing to do with it.
    Weights are represented by their sizes and a sample of their bytes, so that a 140 GB model costs
    milliseconds. The same model gives the same fingerprint on another machine and in another folder of the
    same name. Secrets are left out.
    """
    relevant = {
        name: redact(value)
        for name, value in sorted(args.items())
        if name not in NEUTRAL_ARGS and not is_secret_name(name)
    }
    fingerprint: dict[str, JSON] = {"backend": backend, "args": relevant}
    if served_by is not None:
        return {"name": model, **fingerprint, **served_by}
    path = Path(model).expanduser()
    if path.exists():
        name = Path(os.path.abspath(path)).name  # noqa: PTH100
        return {"name": name, **fingerprint, **_files_fingerprint(path, args)}
    revision = str(args.get("revision") or "main")
    return {"name": model, "revision": revision, "commit": _cached_commit(model, revision), **fingerprint}


def own_code(backend: str) -> dict[str, JSON]:
    """The digest of the file of a user's own backend, which decides answers as weights do; nothing for Muster's own.

    Raises `ConfigurationError` where there is no such file.
    """
    digest = backend_source(backend)
    return {"backend_code": digest} if digest else {}


def task_fingerprint(
    task: Task,
    generation: Generation,
    video: VideoSettings | None = None,
    image: ImageSettings | None = None,
) -> dict[str, JSON]:
    """What decides the questions of a task: its version, prompt, data, generation, video and image settings, and its
    Python file where it has one.

    The metric isn't part of it: scores can be computed again from the same answers.
    """
    settings = asdict(generation)
    shown: dict[str, JSON] = {} if video is None else {"video": asdict(video)}
    opened: dict[str, JSON] = {} if image is None else {"image": asdict(image)}
    earlier: dict[str, JSON] = (
        {} if task.earlier_answers == "model" else {"earlier_answers": task.earlier_answers}
    )
    return {
        "version": task.version,
        "prompt": task.prompt.digest(),
        "data": task.source.revision(),
        "generation": {name: list(v) if isinstance(v, tuple) else v for name, v in settings.items()},
        **shown,
        **opened,
        **earlier,
        **_python_file(task),
    }


def differences(old: Mapping[str, JSON], new: Mapping[str, JSON], prefix: str = "") -> list[str]:
    """What differs, one line per value: `tasks.digits_read.generation.max_new_tokens: 8 → 16`.

    A hub commit that one side didn't know (the model was not in the cache yet) is no difference, nor is the digest of
    code that an older Muster has not written down.
    """
    lines: list[str] = []
    for name in [*old, *(name for name in new if name not in old)]:
        before, after = old.get(name), new.get(name)
        if before == after or (name in _MAY_BE_UNKNOWN and None in (before, after)):
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            lines += differences(before, after, f"{prefix}{name}.")
        else:
            shown_old = shown_value(before) if name in old else "(absent)"
            shown_new = shown_value(after) if name in new else "(absent)"
            lines.append(f"{prefix}{name}: {shown_old} → {shown_new}")
    return lines


def _python_file(task: Task) -> dict[str, JSON]:
    """Of a task that a Python file makes: the file, whose code nothing else represents."""
    file = Path(task.origin)
    try:
        return {"code": _digest(file)} if file.suffix == ".py" and file.is_file() else {}
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror or error}") from error


def digest_of(parts: Iterable[str]) -> str:
    """One digest for a sequence of texts; depends on their order."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode(errors="surrogatepass")
        digest.update(b"%d:" % len(encoded) + encoded)
    return digest.hexdigest()


def _files_fingerprint(path: Path, args: Mapping[str, JSON]) -> dict[str, JSON]:
    try:
        if path.is_file():
            return _weights([path])
        inner = args.get("subfolder")
        holder = path / inner if isinstance(inner, str) else path
        settings = sorted(
            {file for pattern in _SETTINGS_FILES for file in path.glob(pattern) if file.is_file()}
        )
        weights = _weight_files(holder, args)
        if not settings and not weights:
            journal = RunFolder(path).journal
            # Of a run its answers count; of a layout only its backend knows, everything.
            weights = (
                [journal] if journal.is_file() else sorted(file for file in path.iterdir() if file.is_file())
            )
        files: dict[str, JSON] = {file.relative_to(path).as_posix(): _digest(file) for file in settings}
        versions = deciding_versions(holder, args)
        return {"files": files, **_weights(weights), **({"libraries": versions} if versions else {})}
    except OSError as error:
        raise ConfigurationError(f"cannot read the model folder {path}: {error.strerror or error}") from error


def _weight_files(folder: Path, args: Mapping[str, JSON]) -> list[Path]:
    """The files that are loaded: safetensors where there are any, since the others are copies of them.

    Adapters aren't, and the arguments may name another form.
    """
    pickled, gguf = args.get("use_safetensors") is False, args.get("gguf_file")
    safetensors = [] if pickled or gguf else sorted(folder.glob("*.safetensors"))
    if any(not file.name.startswith("adapter_model") for file in safetensors):
        return sorted({*safetensors, *folder.glob("adapter_model.*")})
    return sorted(
        file
        for pattern in _WEIGHT_FILES
        for file in folder.glob(pattern)
        if not any(fnmatch.fnmatch(file.name, state) for state in _TRAINING_STATE)
    )


def _weights(files: list[Path]) -> dict[str, JSON]:
    sizes = [file.stat().st_size for file in files]
    parts = (
        f"{file.name} {size} {_sampled_digest(file, size)}" for file, size in zip(files, sizes, strict=True)
    )
    return {"weights": digest_of(parts), "weight_bytes": sum(sizes)}


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _sampled_digest(file: Path, size: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with file.open("rb") as stream:
        if size <= 3 * SAMPLED_BYTES:
            digest.update(stream.read())
        else:
            for start in (0, (size - SAMPLED_BYTES) // 2, size - SAMPLED_BYTES):
                stream.seek(start)
                digest.update(stream.read(SAMPLED_BYTES))
    return digest.hexdigest()


def _cached_commit(model: str, revision: str) -> str | None:
    """The commit that the local hub cache has for a revision; None where it has none. Uses no network."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface").expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    reference = cache / f"models--{model.replace('/', '--')}" / "refs" / revision
    try:
        return reference.read_text().strip() or None
    except (OSError, ValueError):
        return None


def shown_value(value: JSON) -> str:
    """A value for people: digests and long ones cut short."""
    if isinstance(value, str):
        if len(value) >= 16 and all(character in "0123456789abcdef" for character in value):
            return f"{value[:8]}…"
        return value if value and len(value) <= 60 and value.isprintable() else repr(value)[:80]
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 80 else f"{text[:79]}…"
