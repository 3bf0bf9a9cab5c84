"""Chosen frames as one file, without loss: what the cache keeps, and what workers without the video's file are sent."""

from __future__ import annotations

import io

import msgspec

from muster.core import Media, SampleError
from muster.media.decoded_video import MOST_BYTES, Video
from muster.media.images import load_image
from muster.media.subtitles import Cue

MAGIC = b"muster-frames-1\n"
COMPRESSION = 1
"""PNG's fastest: half a video's size costs a third of its decoding."""


class _Packed(msgspec.Struct, array_like=True):
    fps: float
    total_frames: int
    indices: list[int]
    width: int
    height: int
    pictures: list[bytes]
    """PNG files of the different frames, ascending."""
    subtitles: list[tuple[float, float, str]]


def is_packed(content: bytes) -> bool:
    """Whether these bytes are frames and not a video's file."""
    return content.startswith(MAGIC)


def pack(video: Video) -> bytes:
    """The video as a file. A frame that is shown several times is in it once."""
    from PIL import Image

    places = {index: place for place, index in enumerate(video.indices)}
    pictures: list[bytes] = []
    for index in sorted(places):
        buffer = io.BytesIO()
        Image.fromarray(video.pixels[places[index]]).save(buffer, "PNG", compress_level=COMPRESSION)
        pictures.append(buffer.getvalue())
    packed = _Packed(
        video.fps,
        video.total_frames,
        list(video.indices),
        video.size.width,
        video.size.height,
        pictures,
        [(cue.start, cue.end, cue.text) for cue in video.subtitles],
    )
    return MAGIC + msgspec.msgpack.encode(packed)


def unpack(content: bytes) -> Video:
    """The video of `pack`. Raises `SampleError` for anything else."""
    import numpy as np

    try:
        packed = msgspec.msgpack.decode(memoryview(content)[len(MAGIC) :], type=_Packed)
        order = {index: place for place, index in enumerate(sorted(set(packed.indices)))}
        if not packed.indices or packed.fps <= 0 or min(packed.width, packed.height) < 1:
            raise ValueError("no frames")
        if len(packed.indices) * packed.width * packed.height * 3 > MOST_BYTES:
            raise ValueError("too many pixels")
        pixels = np.empty((len(packed.indices), packed.height, packed.width, 3), dtype=np.uint8)
        places: dict[int, list[int]] = {}
        for place, index in enumerate(packed.indices):
            places.setdefault(order[index], []).append(place)
        for number, where in places.items():
            image = load_image(Media("image", data=packed.pictures[number]))
            if image.size != (packed.width, packed.height):
                raise ValueError("a frame of another size")
            picture = np.asarray(image)
            for place in where:
                pixels[place] = picture
    except Exception as error:
        raise SampleError(f"its packed frames can't be read: {error}") from error
    cues = tuple(Cue(*cue) for cue in packed.subtitles)
    return Video(pixels, tuple(packed.indices), packed.fps, packed.total_frames, cues)
