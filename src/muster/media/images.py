"""Images as models want them: decoded, upright, RGB."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from muster.core import Media, SampleError
from muster.media.gate import open_media

if TYPE_CHECKING:
    from PIL.Image import Image


def load_image(media: Media) -> Image:
    """Decode an image: its EXIF orientation applied, in mode RGB, all pixels in memory.

    Transparency is dropped, not blended, as the reference implementations of the benchmarks do. Raises
    `SampleError`, which names the image, when it can't be read.
    """
    from PIL import Image, ImageOps

    try:
        with _opened(media) as file, Image.open(file) as image:
            ImageOps.exif_transpose(image, in_place=True)
            return image.convert("RGB")
    except SampleError as error:
        raise SampleError(f"{describe(media)} {error}") from error
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


def _opened(media: Media) -> BinaryIO:
    if media.kind != "image":
        raise SampleError("was given where an image is expected")
    return open_media(media)
