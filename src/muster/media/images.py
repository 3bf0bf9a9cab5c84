"""Images as models want them: decoded, upright, RGB."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from muster.core import Media, SampleError
from muster.media.extents import read_extent

if TYPE_CHECKING:
    from PIL.Image import Image


def load_image(media: Media) -> Image:
    """Decode an image: its EXIF orientation applied, in mode RGB, all pixels in memory.

    Transparency is dropped, not blended, as the reference implementations of the benchmarks do. Raises
    `SampleError`, which names the image, when it can't be read.
    """
    from PIL import Image, ImageOps

    source = _source(media)
    try:
        with Image.open(source) as image:
            ImageOps.exif_transpose(image, in_place=True)
            return image.convert("RGB")
    except FileNotFoundError as error:
        raise SampleError(f"{describe(media)} does not exist") from error
    except Exception as error:
        # A broken file makes Pillow's plug-ins raise nearly anything: OSError, SyntaxError, struct.error …
        raise SampleError(f"{describe(media)} can't be decoded: {error}") from error


def describe(media: Media) -> str:
    """How messages name a media item."""
    if media.path is not None:
        return f"{media.kind} {media.path}"
    if media.url is not None:
        return f"{media.kind} {media.url}"
    if media.extent is not None:
        return f"{media.kind} of {media.extent.size} bytes at {media.extent.offset} of {media.extent.path}"
    return f"{media.kind} given as {media.size_hint} bytes ({media.identity[:12]})"


def _source(media: Media) -> Path | io.BytesIO:
    if media.kind != "image":
        raise SampleError(f"{describe(media)} was given where an image is expected")
    if media.data is not None:
        return io.BytesIO(media.data)
    if media.path is not None:
        return Path(media.path)
    if media.extent is not None:
        return io.BytesIO(read_extent(media.extent))
    raise SampleError(f"{describe(media)} is an address, and models don't fetch from the network")
