"""A folder of pictures as a video: how some benchmarks give theirs, and how people extract frames ahead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from muster.core import Media, SampleError
from muster.media.frame_choice import Size, VideoFacts
from muster.media.images import load_image
from muster.media.readers.protocol import Frame

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
DEFAULT_RATE = 1.0
"""Frames per second where nothing says how many there were."""


class FolderReader:
    """Implements `VideoReader`. Files in the order of the numbers in their names."""

    def __init__(self, folder: Path, rate: float | None, within: tuple[str, ...] | None = None) -> None:
        """`within`: as `Media` has it. Raises `SampleError`."""
        try:
            files = [file for file in folder.iterdir() if file.suffix.lower() in PICTURES]
        except OSError as error:
            raise SampleError(f"can't be read: {error.strerror or error}") from error
        if not files:
            raise SampleError("is a folder without pictures")
        self._files = sorted(files, key=_by_number)
        first = _by_number(self._files[0])[0]
        self.facts = VideoFacts(
            len(files), rate or DEFAULT_RATE, first[-1] if first and first[-1] == 1 else 0
        )
        self._within = within
        self.size = Size(*self._picture(0).size)

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """See `VideoReader`. A picture of another size than the first is scaled to it."""
        for index in sorted(set(indices)):
            image = self._picture(index)
            yield Frame(index, np.asarray(image if image.size == self.size else image.resize(self.size)))

    def _picture(self, index: int) -> Image:
        return load_image(Media("image", path=str(self._files[index]), within=self._within))

    def close(self) -> None:
        """See `VideoReader`."""


def _by_number(file: Path) -> tuple[list[int], str]:
    return [int(digits) for digits in re.findall(r"\d+", file.stem)], file.name
