"""Frames as they are meant to be seen: turned and mirrored as the file or the stream says."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    from av.buffer import Buffer
    from av.video.frame import VideoFrame

    from muster.media.readers.protocol import Pixels


class DisplayMatrix(NamedTuple):
    """Where a point of a frame is seen: (x, y) at (a·x + c·y, b·x + d·y)."""

    a: int
    b: int
    c: int
    d: int

    @property
    def as_stored(self) -> bool:
        """Whether it changes nothing."""
        return self.b == self.c == 0 and self.a > 0 and self.d > 0


AS_STORED = DisplayMatrix(1, 0, 0, 1)


def display_matrix(frame: VideoFrame) -> DisplayMatrix:
    """What a frame's file or stream says about how it is shown."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return AS_STORED
    a, b, _, c, d, *_rest = struct.unpack("=9i", bytes(cast("Buffer", data)))
    return DisplayMatrix(a, b, c, d)


def upright(frame: VideoFrame) -> Pixels:
    """A decoded frame as players show it; oblique turns are rounded to the next right angle."""
    import numpy as np

    pixels = cast("Pixels", frame.to_ndarray(format="rgb24"))
    matrix = display_matrix(frame)
    if matrix.as_stored:
        return pixels
    across, down = matrix.a, matrix.d
    if abs(matrix.b) > abs(matrix.a):  # its rows are seen as columns
        pixels = pixels.transpose(1, 0, 2)
        across, down = matrix.c, matrix.b
    return np.ascontiguousarray(pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])
