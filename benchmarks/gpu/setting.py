"""What all parts are told: where the model lies, how large everything is, and on what device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from muster.core import JSON

if TYPE_CHECKING:  # it imports torch
    from benchmarks.random_models import Family, SizeName

Scale: TypeAlias = Literal["7b", "tiny"]
FAMILY: Family = "qwen2_5_vl"


@dataclass(frozen=True, slots=True)
class Setting:
    """One call of `python -m benchmarks.gpu`."""

    folder: Path
    """A part writes into a folder of its own in here."""
    scale: Scale
    device: Literal["cuda", "cpu"]

    @property
    def model(self) -> Path:
        """The model with random weights, which the first part makes."""
        return self.folder / "model"

    @property
    def size(self) -> SizeName:
        """Of the model."""
        return self.scale

    @property
    def dtype(self) -> str:
        """Of its weights."""
        return "bfloat16" if self.device == "cuda" else "float32"

    @property
    def large(self) -> bool:
        """Whether this is the measurement and not the rehearsal."""
        return self.scale == "7b"

    def place(self, name: str) -> Path:
        """A new folder for a part's files."""
        path = self.folder / name
        path.mkdir(parents=True)
        return path

    @property
    def args(self) -> dict[str, JSON]:
        """Model args of every run. A rehearsal prepares its batches in a thread: a process takes seconds to start."""
        return {"device": self.device, "preparation": "auto" if self.large else "thread"}
