"""Videos through PyAV, which brings its own FFmpeg and is there for every system.

A first pass over the packets, without decoding them, says how many frames there are, when each is seen and which ones
decoding can begin at. So indices are exact for variable frame rates and for files whose headers are wrong, and a few
frames of a long video cost a few stretches of decoding.
"""

from __future__ import annotations

import bisect
from array import array
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from muster.core import MissingExtraError, SampleError
from muster.media.frame_choice import Size, VideoFacts
from muster.media.readers.protocol import Frame, Source

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from muster.media.readers.protocol import Pixels

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,av1,obu,ivf,"
    "flv,asf,ogg,gif,mxf,rm"
)
"""FFmpeg's names of what is read. Not among them: playlists, which can name other files of this machine."""
MOST_PIXELS = 1 << 27
"""Of one frame: 16,384×8,192."""
MOST_MISSING = 0.1
"""How much shorter than its header says a video may be before it counts as cut off."""
MOST_DRIFT = 1e-4
"""Seconds by which another decoder's clock may differ."""
THREADS = 4


class _Index(NamedTuple):
    """The frames in the order in which they are seen."""

    times: array[int]
    """When each is seen, in the stream's time base; empty where the file doesn't say."""
    keys: list[int]
    """Which of them decoding can begin at, ascending; the first one among them."""


class PyAvReader:
    """Implements `VideoReader`."""

    def __init__(self, source: Source) -> None:
        """Raises `SampleError`, and `MissingExtraError` without PyAV."""
        try:
            import av
        except ImportError as error:
            raise MissingExtraError("reading videos", "video") from error
        self._av = av
        self._source = source
        self._container: InputContainer | None = None
        try:
            stream = self._open()
            self._index = self._read_index(stream)
            stream = self._open()
            first = next(self._decoded(stream), None)
            if first is None:
                raise SampleError("none of its frames can be decoded")
            pixels = _upright(first)
            # What a stream says is gone with its container, which opening closes.
            self._time_base = stream.time_base or Fraction(1)
            rate = self._rate(stream)
            count = len(self._index.times) or sum(1 for _ in self._decoded(self._open()))
        except av.FFmpegError as error:
            self.close()
            raise SampleError(f"can't be read as a video: {error.strerror or error}") from error
        except SampleError:
            self.close()
            raise
        self.size = Size(pixels.shape[1], pixels.shape[0])
        self.facts = VideoFacts(count, rate)

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """See `VideoReader`."""
        wanted = sorted(set(indices))
        try:
            if not self._index.times:
                yield from self._in_order(wanted)
                return
            missed: list[int] = []
            yield from self._by_time(wanted, missed)
        except self._av.FFmpegError as error:
            raise SampleError(f"can't be decoded: {error.strerror or error}") from error
        if missed:
            raise SampleError(
                f"frame {missed[0]} of {self.facts.frames} can't be decoded: the file is damaged"
            )

    def seen_at(self, index: int, seconds: float) -> bool:
        """Whether that is when the file says that a frame is seen."""
        times = self._index.times
        return bool(times) and abs(float(times[index] * self._time_base) - seconds) < MOST_DRIFT

    def close(self) -> None:
        """See `VideoReader`."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def _open(self) -> VideoStream:
        self.close()
        if not isinstance(self._source, Path):
            self._source.seek(0)
        limits = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
        container = self._av.open(self._source, mode="r", options=limits)
        self._container = container
        # The cover of a song is a video stream too.
        attached = self._av.stream.Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & attached]
        if not streams:
            raise SampleError("has no video in it, only sound or data")
        stream = streams[0]
        if stream.width * stream.height > MOST_PIXELS:
            raise SampleError(f"has frames of {stream.width}×{stream.height} pixels, too large to decode")
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = THREADS
        return stream

    def _read_index(self, stream: VideoStream) -> _Index:
        container = self._opened
        times, keys = array("q"), array("q")
        complete, end = True, 0
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard:
                continue
            if packet.pts is None:
                complete = False
                continue
            times.append(packet.pts)
            end = max(end, packet.pts + (packet.duration or 0))
            if packet.is_keyframe:
                keys.append(packet.pts)
        if not complete or len(set(times)) < len(times):
            return _Index(array("q"), [])
        if not times:
            raise SampleError("has no frames")
        self._check_whole(stream, min(times), end)
        ordered = array("q", sorted(times))
        starts = {bisect.bisect_left(ordered, key) for key in keys}
        return _Index(ordered, sorted(starts | {0}))

    def _check_whole(self, stream: VideoStream, begin: int, end: int) -> None:
        """Compare what there is with what the header says, where the header was not made up from what there is."""
        stated = _stated_seconds(stream)
        if stated is None or stream.time_base is None:
            return
        there = float((end - begin) * stream.time_base)
        if stated - there > MOST_MISSING * stated:
            raise SampleError(f"is cut off: {there:.1f} s of {stated:.1f} s are there")

    def _by_time(self, wanted: Sequence[int], missed: list[int]) -> Iterator[Frame]:
        """Decode on from the nearest place where that is possible; what isn't met there goes into `missed`."""
        times, keys = self._index
        stream = self._open()
        decoded = self._decoded(stream)
        position = -1  # the last frame that was decoded
        for index in wanted:
            key = keys[bisect.bisect_right(keys, index) - 1]
            if position < key - 1 and key > 0:
                self._opened.seek(times[key], stream=stream, backward=True)
                decoded = self._decoded(stream)
                position = -1
            frame, position = self._until(decoded, index, position)
            if frame is None:
                # A seek led too far, or the file has it in another order than its packets say: once from the start.
                stream = self._open()
                decoded = self._decoded(stream)
                frame, position = self._until(decoded, index, -1)
            if frame is None:
                missed.append(index)
                return
            yield Frame(index, _upright(frame))

    def _until(self, decoded: Iterator[VideoFrame], index: int, position: int) -> _Reached:
        times = self._index.times
        for frame in decoded:
            if frame.pts is None or frame.pts < times[index]:
                continue
            position = bisect.bisect_left(times, frame.pts)
            return _Reached(frame if frame.pts == times[index] else None, position)
        return _Reached(None, position)

    def _in_order(self, wanted: Sequence[int]) -> Iterator[Frame]:
        """From the first frame on, for files that don't say when frames are seen."""
        left = list(wanted)
        for index, frame in enumerate(self._decoded(self._open())):
            if left and index == left[0]:
                left.pop(0)
                yield Frame(index, _upright(frame))
            if not left:
                return

    def _decoded(self, stream: VideoStream) -> Iterator[VideoFrame]:
        return self._opened.decode(stream)

    @property
    def _opened(self) -> InputContainer:
        if self._container is None:
            raise ValueError("the video was closed")
        return self._container

    def _rate(self, stream: VideoStream) -> float:
        rate = stream.average_rate or stream.guessed_rate
        if rate is not None and rate > 0:
            return float(rate)
        times = self._index.times
        if len(times) > 1:
            return float((len(times) - 1) / ((times[-1] - times[0]) * self._time_base))
        return 1.0


def _stated_seconds(stream: VideoStream) -> float | None:
    """How long the header says that the video is: MP4's frame table, Matroska's tag. None where it says nothing."""
    if stream.frames and stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    tag = stream.metadata.get("DURATION", "").split(":")
    try:
        hours, minutes, seconds = map(float, tag)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds


class _Reached(NamedTuple):
    frame: VideoFrame | None
    position: int


def _upright(frame: VideoFrame) -> Pixels:
    import numpy as np

    pixels = cast("Pixels", frame.to_ndarray(format="rgb24"))
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels
