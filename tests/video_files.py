"""Real videos for tests: each frame carries its own number, so that a test sees which one it was given."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

COLUMNS, ROWS, BLOCK = 6, 2, 16
"""Twelve black or white blocks: the bits of the frame's number."""
WIDTH, HEIGHT = COLUMNS * BLOCK, ROWS * BLOCK * 2


def numbered(number: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The picture of a frame (64, 96, 3)."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for bit in range(COLUMNS * ROWS):
        top, left = 2 * BLOCK * (bit // COLUMNS), BLOCK * (bit % COLUMNS)
        if number >> bit & 1:
            pixels[top : top + 2 * BLOCK, left : left + BLOCK] = 255
    return pixels


def number_of(pixels: np.ndarray[Any, Any]) -> int:
    """Which frame that is, at whatever size."""
    height, width = pixels.shape[:2]
    number = 0
    for bit in range(COLUMNS * ROWS):
        y = int((2 * (bit // COLUMNS) + 1) * height / (2 * ROWS))
        x = int((2 * (bit % COLUMNS) + 1) * width / (2 * COLUMNS))
        if pixels[y, x].mean() > 128:
            number |= 1 << bit
    return number


def write_video(
    path: Path,
    frames: int = 50,
    *,
    rate: int = 25,
    codec: str = "libx264",
    b_frames: int = 2,
    times: Iterable[int] | None = None,
) -> Path:
    """H.264, or what `codec` says. `times`: when each frame is seen, in units of 1/`rate` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.gop_size, stream.codec_context.max_b_frames = 12, b_frames
        stream.codec_context.thread_count = 1
        if codec == "libx264":
            stream.options = {"crf": "10", "preset": "ultrafast" if b_frames == 0 else "veryfast"}
        for number, time in zip(range(frames), times or range(frames), strict=False):
            picture = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            picture.pts, picture.time_base = time, Fraction(1, rate)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def write_frame_folder(folder: Path, frames: int, first: int = 0) -> Path:
    """Pictures that are named without leading zeros, as extracted frames often are."""
    from PIL import Image

    folder.mkdir(parents=True)
    for number in range(frames):
        Image.fromarray(numbered(number)).save(folder / f"{first + number}.png")
    return folder
