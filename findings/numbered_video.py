"""Small valid videos whose frames carry their own number, for the scripts of this folder."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
import numpy as np

WIDTH, HEIGHT, BITS, BLOCK, RATE = 160, 96, 6, 24, 25


def picture(number: int) -> np.ndarray[Any, Any]:
    """The frame `number` (0 to 63): a bright bar for each bit that is set, on dark grey."""
    pixels = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            pixels[8:-8, 8 + bit * BLOCK : 28 + bit * BLOCK] = 230
    return pixels


def number(pixels: np.ndarray[Any, Any]) -> int:
    """Which frame that is."""
    middle = pixels[HEIGHT // 2 - 8 : HEIGHT // 2 + 8]
    return sum(1 << bit for bit in range(BITS) if middle[:, 14 + bit * BLOCK : 22 + bit * BLOCK].mean() > 130)


def add_video(container: Any, codec: str = "libx264", options: dict[str, str] | None = None) -> Any:
    """A stream of 25 frames a second with B-frames and a key frame every twelve frames."""
    stream = container.add_stream(codec, rate=RATE, options=options or {})
    stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    stream.gop_size, stream.max_b_frames = 12, 3
    return stream


def frame(shown: int, time: int) -> av.VideoFrame:
    """Picture `shown`, seen at `time` in 1/25 s."""
    made = av.VideoFrame.from_ndarray(picture(shown), format="rgb24")
    made.pts, made.time_base = time, Fraction(1, RATE)
    return made


def write(path: str, codec: str = "libx264", options: dict[str, str] | None = None, frames: int = 50) -> None:
    """A video of `frames` frames, the container by the name's ending."""
    with av.open(path, "w") as container:
        stream = add_video(container, codec, options)
        for time in range(frames):
            container.mux(stream.encode(frame(time, time)))
        container.mux(stream.encode())


def numbers(pictures: Iterable[np.ndarray[Any, Any]]) -> list[int]:
    """The numbers of several frames."""
    return [number(pixels) for pixels in pictures]


def shown_by_pyav(path: str) -> list[int]:
    """All frames in order, as PyAV decodes them."""
    with av.open(path) as container:
        return [number(made.to_ndarray(format="rgb24")) for made in container.decode(video=0)]
