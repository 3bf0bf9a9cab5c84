"""Where Muster keeps what it made once, for all runs on this node."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def cache_folder(env: Mapping[str, str] = os.environ) -> Path:
    """`MUSTER_CACHE`, else `muster` in `XDG_CACHE_HOME` (`~/.cache`)."""
    if env.get("MUSTER_CACHE"):
        return Path(env["MUSTER_CACHE"]).expanduser()
    return Path(env.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "muster"
