"""What is said of a model folder that can't be loaded, where the library's own words would lead the wrong way."""

from __future__ import annotations

import json
import pickle
from pathlib import Path


def why_unloadable(error: Exception, folder: Path) -> str:
    """What a `from_pretrained` says of a folder; in Muster's words where it would have the folder's code run."""
    if isinstance(error, pickle.UnpicklingError):
        return (
            f"its pickled weights are damaged or hold more than tensors, which could run code here{_refused(error)}. "
            "Have the model saved as safetensors where it can be trusted"
        )
    said = str(error)
    if "trust_remote_code" in said:
        said = (
            "it comes with Python code of its own, which would run with all that you may do here: read that code "
            "(its *.py files), then say --trust-remote-code"
        )
    return said + own_code_hint(folder)


def own_code_hint(folder: Path) -> str:
    """What to try when a folder can't be loaded whose model comes with Python code of its own; else nothing."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    if not isinstance(config, dict) or not config.get("auto_map"):
        return ""
    return (
        ". The model comes with Python code of its own: --backend chat asks it through its chat method, as "
        "InternVL's and its kin have it (docs/models.md)"
    )


def _refused(error: Exception) -> str:
    """What torch has stopped at; the message around it tells how to load the file all the same."""
    cause = error.__cause__ or error.__context__
    return f" ({str(cause).splitlines()[0][:200]})" if cause is not None and str(cause) else ""
