"""What is shown of a video: decoded frames, and where in it they stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from muster.media.frame_choice import Size
from muster.media.subtitles import Cue

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    Stack = np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]

MOST_BYTES = 2 << 30
"""Of the chosen frames of one video, decoded."""
BYTES_PER_PIXEL = 3


@dataclass(frozen=True, slots=True, eq=False)
class Video:
    """What is shown of a video."""

    pixels: Stack
    """(frames, height, width, 3)."""
    indices: tuple[int, ...]
    """Of the frames in the whole video, ascending, perhaps repeated."""
    fps: float
    """Of the whole video."""
    total_frames: int
    """Of the whole video, or of the clip that was asked about."""
    subtitles: tuple[Cue, ...] = ()
    """On the video's own clock."""

    @property
    def size(self) -> Size:
        """Of a frame."""
        return Size(self.pixels.shape[2], self.pixels.shape[1])

    @property
    def seconds(self) -> tuple[float, ...]:
        """When each frame is seen, at an even frame rate, as the toolkits have it."""
        return tuple(index / self.fps for index in self.indices)

    @property
    def duration(self) -> float:
        """Seconds of what was asked about."""
        return self.total_frames / self.fps

    def images(self) -> list[Image]:
        """The frames as pictures."""
        from PIL import Image

        return [Image.fromarray(frame) for frame in self.pixels]
