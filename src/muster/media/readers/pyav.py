"""Videos through PyAV, which brings its own FFmpeg and is there for every system.

A first pass over the packets, without decoding them, says how many frames there are, when each is seen and which ones
decoding can begin at. So indices are exact for variable frame rates and for files whose headers are wrong, and a few
frames of a long video cost a few stretches of decoding. What the packets say is compared with what is decoded, frame
by frame; where it doesn't hold, frames are counted from the first one on.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, cast

from muster.core import MissingExtraError, SampleError
from muster.media.frame_choice import Size, VideoFacts
from muster.media.readers.decoding import decoded_frames, open_stream
from muster.media.readers.packet_index import COUNTED, PacketIndex, read_index
from muster.media.readers.protocol import Frame, FramesRecountedError, Source
from muster.media.readers.upright import display_matrix, upright

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

INDEXED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""The containers that say where each key frame is."""
MOST_DRIFT = 1e-4
"""Seconds by which another decoder's clock may differ."""
COMPARED = 16
"""Frames at the beginning of each video that are decoded to see whether its packets tell the truth."""
COMMON_FORMATS = ("yuv420p", "yuvj420p")
INTRA = 1
"""FFmpeg's type of a picture that needs no other."""


class _TimesDontHoldError(Exception):
    """The frames that are decoded aren't those that the packets promised."""


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
            self.stream_index = stream.index
            self._index = read_index(stream)
            stream = self._open()
            # What a stream says is gone with its container, which opening closes.
            self._time_base = stream.time_base or Fraction(1)
            rate = self._rate(stream)
            self._plain = self._compare_beginning(stream)
            self.facts = VideoFacts(len(self._index.times) or self._count(), rate)
        except av.FFmpegError as error:
            self.close()
            raise SampleError(f"can't be read as a video: {error.strerror or error}") from error
        except SampleError:
            self.close()
            raise

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """See `VideoReader`."""
        wanted = sorted(set(indices))
        try:
            if self._index.times:
                yield from self._by_time(wanted)
            else:
                yield from self._in_order(wanted)
        except (_TimesDontHoldError, self._av.error.InvalidDataError):
            self._index = COUNTED
            self.facts = self.facts._replace(frames=self._count())
            raise FramesRecountedError from None
        except self._av.FFmpegError as error:
            raise SampleError(f"can't be decoded: {error.strerror or error}") from error

    def seen_at(self, index: int, seconds: float) -> bool:
        """Whether that is when the file says that a frame is seen."""
        times = self._index.times
        return bool(times) and abs(float(times[index] * self._time_base) - seconds) < MOST_DRIFT

    def is_plain(self) -> bool:
        """Whether another decoder's frames of the same times are the same pictures.

        Not where it can't seek exactly, or is led to key frames that depend on others: it then shows grey.
        """
        times, keys, _ = self._index
        if not self._plain or not times:
            return False
        return self._open().container.format.name in INDEXED and (
            len(keys) == 1 or self._sought(keys[-1], times[keys[-1]]) is not None
        )

    def close(self) -> None:
        """See `VideoReader`."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def _open(self, *, to_count: bool = False) -> VideoStream:
        self.close()
        self._container, stream = open_stream(self._source, one_by_one=to_count)
        return stream

    def _compare_beginning(self, stream: VideoStream) -> bool:
        """Compare the first frames with what the packets say, and believe them no further than that.

        Says whether nothing is odd about them: everything is as the packets say, nothing is turned or mirrored, and
        colours are stored in the one way that all convert alike.
        """
        times, keys, _ = self._index
        first, count, agrees, intra = None, 0, True, True
        try:
            for count, frame in enumerate(itertools.islice(decoded_frames(stream), COMPARED), start=1):
                first = first or frame
                agrees = agrees and count <= len(times) and frame.pts == times[count - 1]
                intra = intra and (count == 1 or count - 1 not in keys or _is_intra(frame))
        except self._av.error.InvalidDataError:
            agrees = False
        if first is None:
            raise SampleError("none of its frames can be decoded")
        pixels = upright(first)
        self.size = Size(pixels.shape[1], pixels.shape[0])
        if not agrees or count < min(COMPARED, len(times)):
            self._index = COUNTED
        elif not intra:
            self._index = PacketIndex(times, [0])
        return agrees and intra and display_matrix(first).as_stored and _converts_alike(first)

    def _by_time(self, wanted: Sequence[int]) -> Iterator[Frame]:
        """Decode on from the nearest place where that is possible."""
        run = self._from_start()
        for index in wanted:
            place = bisect.bisect_right(self._index.keys, index) - 1
            if run.position < self._index.keys[place] - 1:
                run = self._from_key(place)
            yield Frame(index, upright(run.reach(index)))

    def _from_start(self) -> _Run:
        return _Run(decoded_frames(self._open()), self._index.times)

    def _from_key(self, place: int) -> _Run:
        """Decode from a key frame, the one before it, or the first frame.

        Some containers are sought by when a frame is decoded, and go too far with the time at which it is seen.
        """
        times, keys, delay = self._index
        if keys[place] == 0:
            return self._from_start()
        for key, early in ((keys[place], 0), (keys[place], delay), (keys[place - 1], delay)):
            try:
                run = self._sought(key, times[key] - early)
            except self._av.FFmpegError:
                continue
            if run is not None:
                return run
        self._index = PacketIndex(times, [0])  # its key frames are none, or can't be found
        return self._from_start()

    def _sought(self, key: int, time: int) -> _Run | None:
        stream = self._open()
        cast("InputContainer", stream.container).seek(time, stream=stream, backward=True)
        seen = self._index.times[key]
        decoded = decoded_frames(stream)
        frame = next((frame for frame in decoded if frame.pts is not None and frame.pts >= seen), None)
        if frame is None or frame.pts != seen or not (key == 0 or _is_intra(frame)):
            return None
        return _Run(itertools.chain([frame], decoded), self._index.times, key - 1)

    def _in_order(self, wanted: Sequence[int]) -> Iterator[Frame]:
        """From the first frame on, for files that don't say when frames are seen."""
        left = list(wanted)
        for index, frame in enumerate(decoded_frames(self._open(to_count=True))):
            if left and index == left[0]:
                left.pop(0)
                yield Frame(index, upright(frame))
            if not left:
                return

    def _count(self) -> int:
        try:
            return sum(1 for _ in decoded_frames(self._open(to_count=True)))
        except self._av.error.InvalidDataError as error:
            raise SampleError("can't be decoded: the file is damaged") from error

    def _rate(self, stream: VideoStream) -> float:
        rate = stream.average_rate or stream.guessed_rate
        if rate is not None and rate > 0:
            return float(rate)
        times = self._index.times
        if len(times) > 1:
            return float((len(times) - 1) / ((times[-1] - times[0]) * self._time_base))
        return 1.0


class _Run:
    """Frames that are decoded one after the other, each compared with what the packets say."""

    def __init__(self, frames: Iterator[VideoFrame], times: Sequence[int], position: int = -1) -> None:
        self._frames = frames
        self._times = times
        self.position = position
        """The last frame that was decoded."""

    def reach(self, index: int) -> VideoFrame:
        """Decode up to a frame. Raises `_TimesDontHoldError` where anything else comes on the way."""
        for frame in self._frames:
            self.position += 1
            if frame.pts != self._times[self.position]:
                break
            if self.position == index:
                return frame
        raise _TimesDontHoldError


def _converts_alike(frame: VideoFrame) -> bool:
    """Other versions of FFmpeg interpolate the colours of other pictures differently."""
    even = frame.width % 2 == frame.height % 2 == 0
    return frame.format.name in COMMON_FORMATS and even and not frame.interlaced_frame


def _is_intra(frame: VideoFrame) -> bool:
    return frame.pict_type == INTRA
