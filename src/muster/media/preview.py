"""What there is of a video, and what is shown of it, without decoding more than its first frame."""

from __future__ import annotations

from muster.core import Media, SampleError, VideoSettings
from muster.media.frame_choice import choose_frames, frame_size
from muster.media.images import describe
from muster.media.readers import open_video
from muster.media.video import subtitles_of

NAMED = 6
"""Frames whose numbers are told."""


def preview_media(media: Media) -> str:
    """The video in words: its frames, size and rate, and which of them `media.shown` asks for.

    Raises `SampleError`, which names the video, where it can't be opened or the clip isn't in it, and where the
    subtitles that are to be shown can't be read.
    """
    settings = media.shown or VideoSettings()
    try:
        reader = open_video(media)
        try:
            indices = choose_frames(settings, reader.facts, media.clip)
            size = frame_size(settings, reader.size, len(indices))
            facts, own = reader.facts, reader.size
        finally:
            reader.close()
        subtitles_of(media)
    except SampleError as error:
        raise SampleError(f"{describe(media)}: {error}") from error
    named = ", ".join(map(str, indices[:NAMED])) + (", …" if len(indices) > NAMED else "")
    return (
        f"{describe(media)}: {facts.frames} frames of {own.width}×{own.height}, {facts.fps:.4g} a second; shows "
        f"{len(indices)} of {size.width}×{size.height}: {named}"
    )
