"""Images as APIs take them: the file as it is where that is what a model would see, else encoded again."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from muster.core import Media, SampleError
from muster.media.gate import read_media_file
from muster.media.images import Picture, describe, open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
"""Formats that every API takes, by Pillow's names."""
PLAIN_MODES = {"1", "L", "P", "RGB"}
QUALITIES = (95, 90, 85)
SHRINK = 0.8


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What an API takes; None: no limit known."""

    bytes: int | None = None
    """Of the encoded file, before base64."""
    side: int | None = None
    """Pixels."""


class Encoded(NamedTuple):
    """An image file, and what was done to it."""

    media_type: str
    data: bytes
    note: str | None = None

    @property
    def base64(self) -> str:
        """The file as text."""
        return base64.b64encode(self.data).decode("ascii")

    @property
    def data_uri(self) -> str:
        """The file as an address."""
        return f"data:{self.media_type};base64,{self.base64}"


def encode_image(media: Media, limits: ImageLimits) -> Encoded:
    """The image within the limits, unchanged where it is.

    A file that other programs may show differently (turned by its EXIF data, transparent, with 16 bits a channel, CMYK,
    animated, in an unusual format) is encoded again without loss, as `muster.media.open_picture` reads it, so that an
    API's model sees the same pixels as one that runs here. What is sent as it is was decoded all the same: a file that
    is cut off is an error of the sample everywhere. What is too large is scaled down, and where that isn't enough,
    made a JPEG.

    Raises:
        SampleError: it can't be read.
    """
    picture = _picture(media)
    if (file := _file(media, picture, limits)) is not None:
        return Encoded(MEDIA_TYPES[picture.format], file)
    image = picture.image
    note = None
    if limits.side is not None and max(image.size) > limits.side:
        small = _scaled(image, limits.side / max(image.size))
        note = f"scaled from {_size(image)} to {_size(small)} pixels"
        image = small
    data = _saved(image, "PNG")
    if limits.bytes is None or len(data) <= limits.bytes:
        return Encoded("image/png", data, note)
    return _as_jpeg(image, limits.bytes, note)


def _as_jpeg(image: Image, most: int, note: str | None) -> Encoded:
    while True:
        for quality in QUALITIES:
            data = _saved(image, "JPEG", quality)
            if len(data) <= most:
                notes = [note, f"JPEG of quality {quality}, {_size(image)} pixels"]
                return Encoded("image/jpeg", data, ", ".join(filter(None, notes)))
        small = _scaled(image, SHRINK)
        if small.size == image.size:
            return Encoded("image/jpeg", data, note)
        image = small


def _picture(media: Media) -> Picture:
    if media.url is not None:
        raise SampleError(
            f"{describe(media)} is an address; to hand addresses to the server: --model-args image_urls=true"
        )
    return open_picture(media)


def _file(media: Media, picture: Picture, limits: ImageLimits) -> bytes | None:
    """The file as it is, where a server sees the same in it and takes it."""
    plain = (
        picture.format in MEDIA_TYPES
        and picture.mode in PLAIN_MODES
        and not (picture.alpha or picture.animated or picture.deep or picture.turned)
        and picture.image.size == picture.size
    )
    if not plain or (limits.side is not None and max(picture.size) > limits.side):
        return None
    file = read_media_file(media)
    return file if limits.bytes is None or len(file) <= limits.bytes else None


def _scaled(image: Image, factor: float) -> Image:
    from PIL import Image

    width, height = (max(1, int(side * factor)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _saved(image: Image, form: str, quality: int | None = None) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **({} if quality is None else {"quality": quality}))
    return buffer.getvalue()


def _size(image: Image) -> str:
    return f"{image.width}×{image.height}"
