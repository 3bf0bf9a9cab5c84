"""What an export is: files that are written from a scored run, and what their reader should know."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from muster.core import ConfigurationError


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    """What is missing in them, one sentence each."""


def file_name(text: str) -> str:
    """`text` as a part of a file's name, as lmms-eval has models' names: what files can't be called is `__`."""
    return re.sub(r"[\"<>:/|\\?*\[\]\x00-\x1f]+", "__", text).strip(". ") or "run"


def folder_for(path: Path) -> Path:
    """The folder `path`, made where it isn't there. Raises `ConfigurationError`."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"--output {path}: {error.strerror or error}") from error
    return path


def left_out(count: int, what: str) -> Sequence[str]:
    """One note, or none where `count` is 0."""
    return (f"{count} {what}",) if count else ()
