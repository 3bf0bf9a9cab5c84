"""Folders, versions and settings of one process."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from muster.doctor.observation import Folder, Use
from muster.doctor.within import within
from muster.results.environment import package_versions

_SECONDS = 10.0
"""A file system that answers no sooner is as good as gone."""
SETTINGS = (
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "XDG_CACHE_HOME",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "GLOO_SOCKET_IFNAME",
    "DIST_TIMEOUT",
)
_PREFIXES = ("NCCL_", "TORCH_NCCL_", "MUSTER_")
_SECRET = ("TOKEN", "KEY", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL")


def see_settings(env: Mapping[str, str]) -> dict[str, str]:
    """Variables that must agree between ranks or explain a failure. Secrets only as `set`."""
    chosen = {name: env[name] for name in SETTINGS if name in env}
    chosen |= {name: env[name] for name in sorted(env) if name.startswith(_PREFIXES)}
    shown = {
        name: "set" if any(word in name for word in _SECRET) else value for name, value in chosen.items()
    }
    return shown | ({"HF_TOKEN": "set"} if env.get("HF_TOKEN") else {})


def see_versions() -> dict[str, str]:
    """Versions of Python and packages; of NCCL and CUDA what is packaged. Imports none of them."""
    versions = package_versions()
    for distribution in metadata.distributions():
        name = (distribution.metadata["Name"] or "").lower()
        if name.startswith("nvidia-nccl"):
            versions["nccl"] = distribution.version
        elif name.startswith("nvidia-cuda-runtime"):
            versions["cuda"] = distribution.version
    return versions


def see_folders(env: Mapping[str, str], output: Path) -> list[Folder]:
    """The places that a run writes to: its output, the hub's cache, temporary files, shared memory."""
    places: list[tuple[Use, Path]] = [
        ("output", output),
        ("cache", hub_cache(env)),
        ("tmp", Path(tempfile.gettempdir())),
    ]
    if Path("/dev/shm").is_dir():  # noqa: S108  NCCL's, between processes of one node
        places.append(("shm", Path("/dev/shm")))  # noqa: S108
    return [see_folder(use, path) for use, path in places]


def hub_cache(env: Mapping[str, str]) -> Path:
    """Where huggingface_hub keeps models, found as it does, without importing it."""
    if env.get("HF_HUB_CACHE"):
        return Path(env["HF_HUB_CACHE"]).expanduser()
    if env.get("HF_HOME"):
        return Path(env["HF_HOME"]).expanduser() / "hub"
    caches = Path(env["XDG_CACHE_HOME"]).expanduser() if env.get("XDG_CACHE_HOME") else Path.home() / ".cache"
    return caches / "huggingface" / "hub"


def see_folder(use: Use, path: Path) -> Folder:
    """Free and total bytes where `path` is or would be made."""
    try:
        return within(_SECONDS, f"the file system of {path}", lambda: _measure(use, path.absolute()))
    except (OSError, TimeoutError) as error:
        return Folder(use, str(path), problem=str(error))


def _measure(use: Use, path: Path) -> Folder:
    existing = next(place for place in (path, *path.parents) if place.exists())
    space = shutil.disk_usage(existing)
    if not existing.is_dir():
        return Folder(use, str(path), space.free, space.total, f"{existing} is a file")
    problem = "" if os.access(existing, os.W_OK | os.X_OK) else f"{existing} is not writable"
    return Folder(use, str(path), space.free, space.total, problem)
