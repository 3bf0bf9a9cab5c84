"""What reads a video's frames: one small contract for all back ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeAlias

from muster.media.frame_choice import Size, VideoFacts

if TYPE_CHECKING:
    import numpy as np

    Pixels: TypeAlias = "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]"
    """A picture (height, width, 3): red, green, blue."""

Source: TypeAlias = "Path | BinaryIO"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A decoded picture, upright, at the video's own size."""

    index: int
    """In the order in which frames are seen, from 0."""
    pixels: Pixels


class FramesRecountedError(Exception):
    """A video's frames aren't those that its file promised; they were counted, and have to be chosen anew."""


class VideoReader(Protocol):
    """An open video. Not safe for several threads."""

    @property
    def facts(self) -> VideoFacts:
        """What frames are chosen by."""
        ...

    @property
    def size(self) -> Size:
        """Of an upright frame."""
        ...

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """Those frames, ascending and each once; holds one picture at a time.

        Raises:
            SampleError: one of them can't be read.
            FramesRecountedError: there are other frames than `facts` said; at most once, and `facts` are right then.
        """
        ...

    def close(self) -> None:
        """Give the file back."""
        ...


OpenReader: TypeAlias = "Callable[[Source], VideoReader]"
"""Opens a video. Raises `SampleError` for what is none, in words that fit behind the video's name."""
