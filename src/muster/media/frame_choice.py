"""Which frames of a video are shown, and how large: the arithmetic of the toolkits, to the last index.

Pure: numbers in, numbers out. `VideoSettings.sampling` names the convention:

- `uniform`: N frames from the first to the last (lmms-eval's `load_video_decord`); of fewer frames some are repeated.
- `fps`: every n-th frame, n the rounded frame rate over `fps`; uniform beyond the most (lmms-eval's LLaVA-Video).
- `steps`: at most one a second and N in all, in equal whole steps from the first frame on (LongVideoBench's loader).
- `qwen`: qwen-vl-utils 0.0.14: even counts, 2 frames a second between 4 and 768, rounded positions, pixel budgets.
- `internvl`: the middles of N equal segments (InternVL's and MVBench's `get_index`).
- `vlmevalkit`: VLMEvalKit's `save_video_frames`: inner points of N+1 steps, or steps of frame rate over `fps`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from muster.core import Clip, SampleError, SamplingName, VideoSettings

DEFAULT_FRAMES = 32
EVEN = 2
"""Qwen's models read frames in pairs."""
QWEN_FPS = 2.0
QWEN_FEWEST, QWEN_MOST = 4, 768
QWEN_FEWEST_PATCHES, QWEN_MOST_PATCHES = 128, 768
"""Of a frame, in squares of `VideoSettings.multiple` pixels."""
QWEN_PATCHES = 128_000 * 0.9
"""Of all frames together."""
MOST_ASPECT = 200


class VideoFacts(NamedTuple):
    """What must be known of a video to choose frames."""

    frames: int
    """At least 1."""
    fps: float
    """Frames per second on average, greater than 0."""
    first: int = 0
    """The number of the first frame where frames are files: InternVL's arithmetic is over their names."""


class FrameRange(NamedTuple):
    """The frames that a clip has, both ends included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """How many there are."""
        return self.last - self.first + 1


class Size(NamedTuple):
    """Of a picture, in pixels."""

    width: int
    height: int


def choose_frames(settings: VideoSettings, video: VideoFacts, clip: Clip | None = None) -> list[int]:
    """The indices of the frames to show, ascending, perhaps repeated; at least one.

    Raises:
        SampleError: the clip lies outside the video.
    """
    if settings.sampling == "internvl" and settings.fps is None:
        return _segment_middles(settings.frames or DEFAULT_FRAMES, video, clip)
    part = clip_range(video, clip)
    seen = VideoFacts(part.length, video.fps)
    if settings.sampling == "qwen":
        return _qwen(settings, seen, part.first)  # the rounding of halves depends on where it begins
    chosen = _CONVENTIONS[settings.sampling](settings, seen)
    return [part.first + min(max(index, 0), part.length - 1) for index in chosen]


def clip_range(video: VideoFacts, clip: Clip | None) -> FrameRange:
    """The frames of a clip, as qwen-vl-utils counts them: from the first at or after its start to the last before its
    end. Raises `SampleError` where there are none.
    """
    duration = video.frames / video.fps
    start = clip.start if clip is not None and clip.start is not None else 0.0
    end = clip.end if clip is not None and clip.end is not None else duration
    if start > 0 and start >= duration:
        raise SampleError(
            f"the clip begins at {start:g} s, and the video ends at {duration:.2f} s: is it the right file?"
        )
    first = min(math.ceil(max(0.0, start) * video.fps), video.frames - 1)
    last = min(math.floor(max(0.0, min(end, duration)) * video.fps), video.frames - 1)
    if end < start:
        raise SampleError(f"the clip ends at {end:g} s, before it begins at {start:g} s")
    return FrameRange(first, max(first, last))  # shorter than a frame: the nearest one


def frame_size(settings: VideoSettings, size: Size, frames: int) -> Size:
    """How large each of `frames` frames of a video is shown. Raises `SampleError` for one that is all but a line."""
    if settings.sampling == "qwen":
        return _qwen_size(settings, size, frames)
    budgets = [settings.max_pixels, settings.total_pixels and settings.total_pixels / frames]
    most = min((budget for budget in budgets if budget), default=None)
    if most is None or size.width * size.height <= most:
        return size
    factor = math.sqrt(most / (size.width * size.height))
    return Size(max(1, int(size.width * factor)), max(1, int(size.height * factor)))


def _uniform(settings: VideoSettings, video: VideoFacts) -> list[int]:
    if settings.fps is not None:
        seconds = video.frames / video.fps
        return _evenly(_bounded(settings, max(1, int(seconds * settings.fps))), video.frames)
    return _evenly(settings.frames or DEFAULT_FRAMES, video.frames)


def _fps(settings: VideoSettings, video: VideoFacts) -> list[int]:
    step = max(1, round(video.fps / (settings.fps or 1.0)))
    every = list(range(0, video.frames, step))
    most = settings.max_frames or settings.frames
    if most is not None and len(every) > most:
        return _evenly(most, video.frames)
    if settings.min_frames is not None and len(every) < settings.min_frames:
        return _evenly(settings.min_frames, video.frames)
    return every


def _steps(settings: VideoSettings, video: VideoFacts) -> list[int]:
    a_second = int(video.frames / video.fps * (settings.fps or 1.0))
    count = max(1, min(settings.frames or DEFAULT_FRAMES, a_second))
    step = int(video.frames / count)
    return [step * number for number in range(count)]


def _qwen(settings: VideoSettings, video: VideoFacts, first: int) -> list[int]:
    if video.frames < EVEN:
        return [first, first]  # the original refuses it
    if settings.frames is not None:
        count = float(round(settings.frames / EVEN) * EVEN)
    else:
        fewest = math.ceil((settings.min_frames or QWEN_FEWEST) / EVEN) * EVEN
        most = math.floor((settings.max_frames or min(QWEN_MOST, video.frames)) / EVEN) * EVEN
        wanted = video.frames / video.fps * (settings.fps or QWEN_FPS)
        count = min(max(wanted, fewest), most)
    count = max(EVEN, math.floor(min(count, video.frames) / EVEN) * EVEN)
    return [round(place) for place in _torch_linspace(first, first + video.frames - 1, count)]


def _torch_linspace(first: int, last: int, count: int) -> list[float]:
    """`torch.linspace` as it is computed: in float32, from both ends, each place with a single rounding."""
    step = float(np.float32(np.float32(last - first) / np.float32(count - 1)))
    half = count // 2
    ahead = [float(np.float32(first + step * number)) for number in range(half)]
    return ahead + [float(np.float32(last - step * (count - 1 - number))) for number in range(half, count)]


def _internvl(settings: VideoSettings, video: VideoFacts) -> list[int]:
    seconds = video.frames / video.fps
    count = _bounded(settings, max(1, int(seconds * (settings.fps or 1.0))))
    return _segment_middles(count, video, None)


def _segment_middles(count: int, video: VideoFacts, clip: Clip | None) -> list[int]:
    bounds = clip or Clip()
    first, last = video.first, video.first + video.frames - 1
    begin = first if bounds.start is None else max(first, round(bounds.start * video.fps))
    end = last if bounds.end is None else min(round(bounds.end * video.fps), last)
    if begin > last or end < begin:
        clip_range(video, clip)  # says what is wrong, unless it is a matter of rounding
        begin = end = min(begin, last)
    segment = float(end - begin) / count
    return [int(begin + segment / 2 + np.round(segment * number)) - first for number in range(count)]


def _vlmevalkit(settings: VideoSettings, video: VideoFacts) -> list[int]:
    if settings.fps is not None:
        count = _bounded(settings, max(1, int(video.frames / video.fps * settings.fps)))
        step = video.fps / settings.fps
        every = [int(number * step) for number in range(count)]
        return every if every[-1] < video.frames else _evenly(count, video.frames)
    count = settings.frames or DEFAULT_FRAMES
    step = video.frames / (count + 1)
    return [int(number * step) for number in range(1, count + 1)]


def _evenly(count: int, frames: int) -> list[int]:
    return [int(place) for place in np.linspace(0, frames - 1, count, dtype=int)]


def _bounded(settings: VideoSettings, count: int) -> int:
    most = settings.max_frames or settings.frames
    return max(settings.min_frames or 1, min(count, most) if most else count)


def _qwen_size(settings: VideoSettings, size: Size, frames: int) -> Size:
    """`smart_resize` with the budgets of `fetch_video`."""
    unit = settings.multiple
    area = size.width * size.height
    if max(size) / min(size) > MOST_ASPECT:
        raise SampleError(f"its frames are {size.width}×{size.height}: more than {MOST_ASPECT} to one")
    fewest = settings.min_pixels or QWEN_FEWEST_PATCHES * unit * unit
    total = settings.total_pixels or QWEN_PATCHES * unit * unit
    most: float = max(min(QWEN_MOST_PATCHES * unit * unit, total / frames * EVEN), int(fewest * 1.05))
    if settings.max_pixels is not None:
        most = min(settings.max_pixels, most)
    fewest = min(fewest, int(most))
    width, height = (max(unit, round(side / unit) * unit) for side in size)
    if width * height > most:
        shrink = math.sqrt(area / most)
        width, height = (max(unit, math.floor(side / shrink / unit) * unit) for side in size)
    elif width * height < fewest:
        grow = math.sqrt(fewest / area)
        width, height = (math.ceil(side * grow / unit) * unit for side in size)
    return Size(width, height)


_CONVENTIONS: dict[SamplingName, Callable[[VideoSettings, VideoFacts], list[int]]] = {
    "uniform": _uniform,
    "fps": _fps,
    "steps": _steps,
    "internvl": _internvl,
    "vlmevalkit": _vlmevalkit,
}
