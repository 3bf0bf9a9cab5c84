"""Images as models want them: decoded, upright, RGB with 8 bits a channel, without transparency.

Everything that looks at an image's pixels opens it here, so that models in this process, servers behind an API and
previews see the same.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from muster.core import ImageSettings, Media, SampleError
from muster.media.gate import open_media
from muster.media.pixels import declared, flattened, has_transparency

if TYPE_CHECKING:
    from PIL.Image import Image

LIMIT = 178_956_970
"""Pixels that are decoded: Pillow's own bound against files that are small and become huge."""
LIMIT_IF_SCALED = 1 << 30
"""Where the user wants large images scaled down; four gigabytes as they are decoded."""
HUGE = 89_478_485
"""Pixels from which on Pillow warns."""
ORIENTATION = 0x0112
"""The EXIF tag that says how an image is to be turned; 1 is upright."""
_SIDEWAYS = (5, 6, 7, 8)
_TURNS = (0, 3, 1, 5, 4, 6, 2)
"""Pillow's `Transpose` for the orientations from 2 to 8."""
_RUNS_PROGRAMS = frozenset({"EPS"})
"""Formats for which Pillow starts another program."""

_switching = threading.RLock()


class Dimensions(NamedTuple):
    """Pixels."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Of the whole image."""
        return self.width * self.height

    def __str__(self) -> str:
        return f"{self.width}×{self.height}"


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded image, and what its file is."""

    image: Image
    """RGB, upright, all pixels in memory; nothing in `info` that could change them."""
    format: str
    """Pillow's name."""
    mode: str
    """Pillow's, of the file."""
    size: Dimensions
    """Upright, before it was scaled."""
    alpha: bool
    """Whether the file has a channel or a colour for transparency."""
    transparent: bool
    """Whether one of its pixels is transparent."""
    deep: bool
    """Whether a channel has more than 8 bits."""
    animated: bool
    """Whether there are more images in it; the first is shown."""
    turned: bool
    """Whether EXIF has it turned or mirrored."""


def load_image(media: Media) -> Image:
    """Decode an image: upright, in mode RGB, all pixels in memory; see `open_picture`."""
    return open_picture(media).image


def open_picture(media: Media) -> Picture:
    """Decode an image as `media.image` says, of an animation the first one.

    EXIF's orientation is applied, more than 8 bits are scaled as viewers do (`muster.media.pixels`), transparency is
    laid on white (or dropped). Colour profiles aren't applied.

    Raises:
        SampleError: which names the image, when it can't be read, is cut off or has too many pixels.
    """
    settings = media.image or ImageSettings()
    try:
        with _opened(media) as file, _strict(), _header(file, settings) as image:
            return _decoded(image, settings)
    except SampleError as error:
        raise SampleError(f"{describe(media)} {error}") from error
    except Exception as error:
        # A broken file makes Pillow's plug-ins raise nearly anything: OSError, SyntaxError, struct.error …
        raise SampleError(f"{describe(media)} can't be decoded: {error}") from error


def image_size(media: Media) -> Dimensions:
    """An image's size as a model gets it, from its header, without decoding it. Raises `SampleError`."""
    settings = media.image or ImageSettings()
    try:
        with _opened(media) as file, _header(file, settings) as image:
            return _scaled_size(_upright_size(image, _orientation(image)), settings)
    except SampleError as error:
        raise SampleError(f"{describe(media)} {error}") from error
    except Exception as error:  # as above
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


def _header(file: BinaryIO, settings: ImageSettings) -> Image:
    """The image, nothing decoded yet. Raises `SampleError` where it has too many pixels."""
    from PIL import Image, UnidentifiedImageError

    limit = settings.limit or (LIMIT_IF_SCALED if settings.max_pixels else LIMIT)
    try:
        image = Image.open(file)
    except UnidentifiedImageError:
        raise SampleError(
            "can't be decoded: it is no image in a known format, or only the beginning of one"
        ) from None
    except Image.DecompressionBombError:
        # Pillow has one bound for the whole process; ours is the task's.
        with _switching:
            kept, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                file.seek(0)
                image = Image.open(file)
            finally:
                Image.MAX_IMAGE_PIXELS = kept
    if image.format in _RUNS_PROGRAMS:
        raise SampleError(f"is in a format that isn't decoded ({image.format})")
    size = Dimensions(*image.size)
    if size.pixels > limit:
        raise SampleError(
            f"has {size} pixels, more than the {limit:,} that are decoded; if that is meant, raise the limit (--image "
            "limit=N) or have large images scaled down (--image max_pixels=N)"
        )
    return image


def _decoded(image: Image, settings: ImageSettings) -> Picture:
    from PIL import Image

    samples, orientation = declared(image), _orientation(image)
    form, mode = image.format or "", image.mode
    animated = bool(getattr(image, "is_animated", False))
    size = _upright_size(image, orientation)
    wanted = _scaled_size(size, settings)
    if wanted != size:
        image.draft(
            None, wanted if image.size == size else (wanted.height, wanted.width)
        )  # JPEG decodes less then
    image.load()
    alpha = has_transparency(image)
    flat = flattened(image, samples, settings.transparency)
    shown = flat.image
    if orientation != 1 and form != "TIFF":  # which Pillow turns by itself
        shown = shown.transpose(Image.Transpose(_TURNS[orientation - 2]))
    if wanted != size:
        shown = shown.resize(wanted, Image.Resampling.LANCZOS, reducing_gap=3.0)
    shown.info = flat.image.info
    return Picture(
        shown, form, mode, size, alpha, flat.transparent, samples.bits > 8, animated, turned=orientation != 1
    )


def _orientation(image: Image) -> int:
    """EXIF's; 1 where it says nothing that can be read, as viewers have it."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - as in decoding, a broken block may raise nearly anything
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright_size(image: Image, orientation: int) -> Dimensions:
    width, height = image.size
    turned = orientation in _SIDEWAYS and image.format != "TIFF"  # whose size Pillow has turned already
    return Dimensions(height, width) if turned else Dimensions(width, height)


def _scaled_size(size: Dimensions, settings: ImageSettings) -> Dimensions:
    if settings.max_pixels is None or size.pixels <= settings.max_pixels:
        return size
    factor = math.sqrt(settings.max_pixels / size.pixels)
    return Dimensions(max(1, int(size.width * factor)), max(1, int(size.height * factor)))


@contextmanager
def _strict() -> Iterator[None]:
    """A file that is cut off is an error, also where other code has told Pillow to fill what is missing with grey."""
    from PIL import ImageFile

    if not ImageFile.LOAD_TRUNCATED_IMAGES:
        yield
        return
    with _switching:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = True
