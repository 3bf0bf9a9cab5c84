"""Videos for APIs that take none: their frames as images, their subtitles as text."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from muster.core import Media, Message, Part, Request, SampleError, VideoSettings
from muster.media.images import describe
from muster.media.opening import frame_sequence, said_in
from muster.media.packed_frames import is_packed
from muster.media.video import load_video

if TYPE_CHECKING:
    from PIL.Image import Image

QUALITY = 95
"""Of JPEG. Frames went through a lossy code already, and as PNG 32 of them would exceed what APIs accept at once."""


class Framed(NamedTuple):
    """A request without videos, and what was done to it."""

    request: Request
    note: str | None = None


def with_frames(request: Request) -> Framed:
    """The request with each video as images. Decodes; raises `SampleError` for a video that can't be read."""
    if all(media.kind == "image" for media in request.media):
        return Framed(request)
    notes: list[str] = []
    messages = tuple(
        Message(message.role, tuple(new for part in message.parts for new in _framed(part, notes)))
        for message in request.messages
    )
    return Framed(replace(request, messages=messages), "; ".join(notes))


def check_whole(media: Media) -> None:
    """Raise `SampleError` where the file of a video isn't what is asked about: a server that reads it can't know."""
    if media.clip is not None:
        raise SampleError(
            f"{describe(media)}: the question is about a part of it, which can't be sent as a file; leave out "
            "`video` in --model-args, and its frames are sent"
        )
    if media.data is not None and is_packed(media.data):
        raise SampleError(f"{describe(media)}: this worker was sent its frames, not its file")


def _framed(part: Part, notes: list[str]) -> list[Part]:
    if part.media is None or part.media.kind == "image":
        return [part]
    settings = part.media.shown or VideoSettings()
    video = load_video(part.media)
    frames = video.images()
    notes.append(f"{describe(part.media)}: {len(frames)} frames as images")
    parts = [
        Part(text=piece) if isinstance(piece, str) else Part(media=_encoded(frames[piece]))
        for piece in frame_sequence(video, settings, "none")
    ]
    said = said_in(video, settings)
    return [*parts, Part(text=said)] if said else parts


def _encoded(frame: Image) -> Media:
    buffer = io.BytesIO()
    frame.save(buffer, "JPEG", quality=QUALITY)
    return Media("image", data=buffer.getvalue())
