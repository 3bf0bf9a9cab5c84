"""How the stand-in answers, by what stands in the prompt; and what it was asked."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Asked:
    """What one engine was asked."""

    prompts: list[dict[str, Any]] = field(default_factory=list)
    settings: list[dict[str, object]] = field(default_factory=list)
    special_tokens: list[bool] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    most: int = 0
    """Requests at the same time."""
    running: int = 0
    answered: int = 0
    loops: set[asyncio.AbstractEventLoop] = field(default_factory=set)


engines: list[Asked] = []
SECONDS = float(os.environ.get("FAKE_VLLM_SECONDS", "0.01"))
REFUSED, BROKEN, GIVEN_UP, ENDLESS, KILLS = "too long", "breaks", "is given up", "never ends", "kills"
