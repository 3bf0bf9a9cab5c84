"""Videos as models want them: the chosen frames, upright, RGB, within the pixel budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from muster.core import ConfigurationError, Media, SampleError, VideoSettings
from muster.media import frame_cache
from muster.media.decoded_video import BYTES_PER_PIXEL, MOST_BYTES, Video
from muster.media.frame_choice import Size, choose_frames, clip_range, frame_size
from muster.media.gate import checked_path
from muster.media.images import describe
from muster.media.packed_frames import is_packed, unpack
from muster.media.readers import FramesRecountedError, VideoReader, open_video
from muster.media.subtitles import Cue, load_subtitles

if TYPE_CHECKING:
    from muster.media.decoded_video import Stack


def load_video(media: Media) -> Video:
    """The frames of a video that `media.shown` asks for, from the cache where they are there.

    Only those are decoded and kept; at most `MOST_BYTES`. Raises `SampleError`, which names the video, when it can't
    be read, and `ConfigurationError` when nothing is installed that could.
    """
    if media.kind != "video":
        raise SampleError(f"{describe(media)} was given where a video is expected")
    try:
        if media.data is not None and is_packed(media.data):
            return unpack(media.data)
        if (kept := frame_cache.find(media)) is not None:
            return kept
        with frame_cache.reading(media):
            if (kept := frame_cache.find(media)) is not None:  # another process was quicker
                return kept
            video = _read(media, media.shown or VideoSettings())
            frame_cache.keep(media, video)
            return video
    except SampleError as error:
        raise SampleError(f"{describe(media)}: {error}") from error
    except (ConfigurationError, MemoryError):
        raise
    except Exception as error:
        # Broken files make decoders raise nearly anything.
        raise SampleError(f"{describe(media)} can't be decoded: {error}") from error


def _read(media: Media, settings: VideoSettings) -> Video:
    reader = open_video(media)
    try:
        try:
            return _shown(reader, media, settings)
        except FramesRecountedError:
            return _shown(reader, media, settings)
    finally:
        reader.close()


def _shown(reader: VideoReader, media: Media, settings: VideoSettings) -> Video:
    indices = choose_frames(settings, reader.facts, media.clip)
    part = clip_range(reader.facts, media.clip)
    size = frame_size(settings, reader.size, len(indices))
    pixels = _decode(reader, indices, size)
    return Video(pixels, tuple(indices), reader.facts.fps, part.length, subtitles_of(media))


def subtitles_of(media: Media) -> tuple[Cue, ...]:
    """The subtitles of a video, on its own clock; none where it has none or none are to be shown."""
    if media.subtitles is None or media.shown is None or media.shown.subtitles == "none":
        return ()
    status = Path(media.subtitles)
    if not status.exists() or status.stat().st_size == 0:
        return ()  # as benchmarks have it where nobody speaks
    try:
        file = checked_path(media.subtitles, media.within)
    except SampleError as error:
        raise SampleError(f"the subtitles {media.subtitles}: {error}") from error
    late = media.subtitles_from
    cues = load_subtitles(str(file))
    return tuple(Cue(cue.start - late, cue.end - late, cue.text) for cue in cues) if late else cues


def _decode(reader: VideoReader, indices: list[int], size: Size) -> Stack:
    import numpy as np
    from PIL import Image

    needed = len(indices) * size.width * size.height * BYTES_PER_PIXEL
    if needed > MOST_BYTES:
        raise SampleError(
            f"{len(indices)} frames of {size.width}×{size.height} pixels take {needed / (1 << 30):.1f} GiB, more than "
            f"{MOST_BYTES >> 30}: set max_pixels or fewer frames with --video"
        )
    pixels = np.empty((len(indices), size.height, size.width, BYTES_PER_PIXEL), dtype=np.uint8)
    places: dict[int, list[int]] = {}
    for place, index in enumerate(indices):
        places.setdefault(index, []).append(place)
    for frame in reader.frames(list(places)):
        picture = frame.pixels
        if picture.shape[:2] != (size.height, size.width):
            scaled = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)
            picture = np.asarray(scaled)
        for place in places.pop(frame.index):
            pixels[place] = picture
    if places:
        raise SampleError(f"frame {min(places)} of {reader.facts.frames} can't be decoded")
    return pixels
