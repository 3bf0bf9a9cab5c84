"""Whether the user has said that there is no network."""

from __future__ import annotations

import os
from collections.abc import Mapping

VARIABLES = ("MUSTER_OFFLINE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")


def offline_variable(env: Mapping[str, str] = os.environ) -> str | None:
    """The variable that says so, None where none does."""
    for name in VARIABLES:
        if env.get(name, "").strip().upper() in {"1", "ON", "YES", "TRUE"}:
            return name
    return None
