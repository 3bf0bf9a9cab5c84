"""Images and videos that lie in a larger file: their bytes, read when they are wanted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from muster.core import Extent, Part, Request, SampleError


def read_extent(extent: Extent) -> bytes:
    """The bytes of an extent. Raises `SampleError` where the file isn't there or is too short."""
    try:
        with Path(extent.path).open("rb", buffering=0) as stream:
            stream.seek(extent.offset)
            content = stream.read(extent.size)
    except OSError as error:
        raise SampleError(f"{extent.path}: can't be read: {error.strerror or error}") from error
    if content is None or len(content) < extent.size:
        raise SampleError(
            f"{extent.path} is shorter than it was when its images were counted: remove its folder, it is made again"
        )
    return content


def with_extents(request: Request) -> Request:
    """The request with the bytes of its extents in it. What can't be read stays as it is, and fails when opened."""
    if not any(media.extent for media in request.media):
        return request
    messages = (
        replace(message, parts=tuple(_loaded(part) for part in message.parts)) for message in request.messages
    )
    return replace(request, messages=tuple(messages))


def _loaded(part: Part) -> Part:
    if part.media is None or part.media.extent is None:
        return part
    try:
        return Part(media=replace(part.media, data=read_extent(part.media.extent), extent=None))
    except SampleError:
        return part
