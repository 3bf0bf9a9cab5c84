"""What all APIs have in common of a prompt."""

from __future__ import annotations

from muster.core import Media, Request, SampleError
from muster.media.containers import HEAD, video_type
from muster.media.gate import read_media_file
from muster.media.images import describe
from muster.models.seeding import request_seed

SEED_BITS = 31
"""What all servers take."""


def check_images(request: Request, most: int | None) -> None:
    """Raise `SampleError` where a prompt has more images than the server takes."""
    images = sum(media.kind == "image" for media in request.media)
    if most is not None and images > most:
        raise SampleError(f"the prompt has {images} images, and max_images={most}")


def read_video(media: Media) -> tuple[str, bytes]:
    """The media type and the bytes of a video file, by what is in it.

    Raises:
        SampleError: it can't be read, or is something else: data names files, and only videos are sent as they are.
    """
    if media.url is not None:
        raise SampleError(f"{describe(media)} is an address, and this server is not handed addresses")
    try:
        content = read_media_file(media)
    except SampleError as error:
        raise SampleError(f"{describe(media)} {error}") from error
    media_type = video_type(content[:HEAD])
    if media_type is None:
        raise SampleError(f"{describe(media)} is no video file, so it isn't sent")
    return media_type, content


def seed_of(request: Request) -> int:
    """A seed for one answer: other repeats of the sample get others."""
    return request_seed(request.generation.seed, request.key) >> (64 - SEED_BITS)
