"""Models from the hub, fetched once per node however many ranks ask for them."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from muster.core import ConfigurationError, MissingExtraError, RunError
from muster.core.hub import hub_errors
from muster.core.phases import phase

OTHER_FORMATS = [
    "*.gguf",
    "*.onnx",
    "*.onnx_data",
    "*.h5",
    "*.msgpack",
    "*.ot",
    "*.pth",
    "*.tflite",
    "original/*",
]
"""Copies of the same weights that transformers doesn't read."""

LOCK_TIMEOUT = 6 * 3600.0
"""Seconds that a rank waits for the one that downloads; enough for hundreds of gigabytes."""


def fetch_model(model: str, revision: str | None = None) -> Path:
    """The folder with the model's files: `model` itself where it is one, else a snapshot from the hub.

    The first of a node's processes downloads, the others wait and then find the files in the cache. Honours
    `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE`. Raises `ConfigurationError` when the model
    can't be had, and `RunError` when the download breaks or another process has been at it for `LOCK_TIMEOUT`.
    """
    folder = Path(model)
    if folder.is_dir():
        return folder
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError as error:
        raise MissingExtraError(f"the hub id {model}", "transformers") from error

    locks = Path(HF_HUB_CACHE) / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = locks / f"muster--{model.replace('/', '--')}.lock"
    try:
        with FileLock(lock, timeout=LOCK_TIMEOUT):
            return _download(model, revision)
    except Timeout as error:
        raise RunError(
            f"waited {LOCK_TIMEOUT:.0f} s for another process that downloads {model} (lock {lock})"
        ) from error


def _download(model: str, revision: str | None) -> Path:
    """The snapshot, without the weights' older format where there is safetensors."""
    from huggingface_hub import snapshot_download

    with (
        hub_errors(model, revision, lambda: unreachable_model(model, revision)),
        phase(f"downloading {model} from the hub"),
    ):
        folder = Path(snapshot_download(model, revision=revision, ignore_patterns=[*OTHER_FORMATS, "*.bin"]))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(model, revision=revision, ignore_patterns=OTHER_FORMATS))
    if not (folder / "config.json").is_file():
        raise ConfigurationError(
            f"{unreachable_model(model, revision)} (the cache holds only a part: {folder})"
        )
    return folder


def unreachable_model(model: str, revision: str | None) -> str:
    """That a model is neither in the cache nor to be fetched, and what to do."""
    from huggingface_hub.constants import HF_HUB_CACHE, is_offline_mode

    why = "HF_HUB_OFFLINE is set" if is_offline_mode() else "the hub can't be reached"
    option = f" --revision {revision}" if revision else ""
    return (
        f"{model} is not in the cache {HF_HUB_CACHE}, and {why}. On a machine with a network run "
        f"`hf download {model}{option} --local-dir FOLDER`, copy FOLDER here and give it as --model, or set HF_HOME "
        "to a cache that has it"
    )
