"""How an image is opened: what becomes of transparency, and how large it may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Transparency = Literal["white", "drop"]
"""Laid on white, as image processors and viewers do; or dropped, as `convert("RGB")` alone does, which shows whatever
colour is stored beneath."""


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """How the images of a task are opened."""

    transparency: Transparency = "white"
    max_pixels: int | None = None
    """Larger ones are scaled down to about so many, their shape kept. None: they stay as they are."""
    limit: int | None = None
    """Images with more pixels are refused. None: 178,956,970, or with `max_pixels` 1,073,741,824."""
