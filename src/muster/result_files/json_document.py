"""One JSON document: scores and settings, as Python writes them (NaN and Infinity included)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from muster.core import ConfigurationError


def read_document(path: Path) -> Mapping[str, object]:
    """The object in a file. Raises `ConfigurationError` with the line where it is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror or error}") from error
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: an object was expected, it holds a {type(document).__name__}")
    return document
