"""What the coordinator runs on, for the record: packages and hardware."""

from __future__ import annotations

import os
import platform
import socket
from importlib import metadata

from muster.core import JSON

PACKAGES = [
    "muster-eval",
    "torch",
    "transformers",
    "accelerate",
    "tokenizers",
    "safetensors",
    "vllm",
    "openai",
    "ray",
    "numpy",
    "pillow",
    "pyarrow",
    "torchvision",
    "huggingface-hub",
    "datasets",
    "av",
]


def package_versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that may change answers. Imports none of them."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def describe_hardware() -> dict[str, JSON]:
    """Host, processors, memory in bytes and GPUs of this machine."""
    memory: int | None
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError, AttributeError):
        memory = None
    return {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "memory_bytes": memory,
        "gpus": _gpus(),
    }


def _gpus() -> list[JSON]:
    """Names and memory of the GPUs; none where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
            return [
                {
                    "name": str(pynvml.nvmlDeviceGetName(handle)),
                    "memory_bytes": int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
                }
                for handle in handles
            ]
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return []
