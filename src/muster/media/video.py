"""Videos as models want them: the chosen frames, upright, RGB, within the pixel budget."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from muster.core import ConfigurationError, Media, SampleError, VideoSettings
from muster.media import frame_cache
from muster.media.frame_choice import Size, choose_frames, clip_range, frame_size
from muster.media.gate import checked_path
from muster.media.images import describe
from muster.media.packed_frames import is_packed, unpack
from muster.media.readers import FramesRecountedError, VideoReader, open_video
from muster.media.subtitles import Cue, load_subtitles

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    Stack = np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]

MOST_BYTES = 2 << 30
"""Of the chosen frames of one video, decoded."""
BYTES_PER_PIXEL = 3


@dataclass(frozen=True, slots=True, eq=False)
class Video:
    """What is shown of a video."""

    pixels: Stack
    """(frames, height, width, 3)."""
    indices: tuple[int, ...]
    """Of the frames in the whole video, ascending, perhaps repeated."""
    fps: float
    """Of the whole video."""
    total_frames: int
    """Of the whole video, or of the clip that was asked about."""
    subtitles: tuple[Cue, ...] = ()
    """On the video's own clock."""

    @property
    def size(self) -> Size:
        """Of a frame."""
        return Size(self.pixels.shape[2], self.pixels.shape[1])

    @property
    def seconds(self) -> tuple[float, ...]:
        """When each frame is seen, at an even frame rate, as the toolkits have it."""
        return tuple(index / self.fps for index in self.indices)

    @property
    def duration(self) -> float:
        """Seconds of what was asked about."""
        return self.total_frames / self.fps

    def images(self) -> list[Image]:
        """The frames as pictures."""
        from PIL import Image

        return [Image.fromarray(frame) for frame in self.pixels]


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
