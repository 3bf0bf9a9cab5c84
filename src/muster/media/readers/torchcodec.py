"""Videos through torchcodec: faster where many frames are read, for those who have torch and FFmpeg's libraries.

What is there to be read, PyAV says: the two count the frames of trimmed files and the frame rate of variable ones
differently. torchcodec then decodes; a frame that it takes for another one is decoded by PyAV instead, so the two give
the same pictures for the same indices.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from muster.media.frame_choice import Size, VideoFacts
from muster.media.readers.decoding import THREADS
from muster.media.readers.protocol import Frame, Source
from muster.media.readers.pyav import PyAvReader

if TYPE_CHECKING:
    import numpy as np

AT_ONCE = 8
"""Frames that are decoded in one call."""


class TorchcodecReader:
    """Implements `VideoReader`."""

    def __init__(self, source: Source) -> None:
        """Raises `SampleError`, and `MissingExtraError` without PyAV."""
        self._counted = PyAvReader(source)
        self._source = source

    @property
    def facts(self) -> VideoFacts:
        """See `VideoReader`."""
        return self._counted.facts

    @property
    def size(self) -> Size:
        """See `VideoReader`."""
        return self._counted.size

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """See `VideoReader`."""
        wanted = sorted(set(indices))
        done = 0
        for frame in self._decoded(wanted):
            yield frame
            done += 1
        yield from self._counted.frames(wanted[done:])

    def close(self) -> None:
        """See `VideoReader`."""
        self._counted.close()

    def _decoded(self, wanted: Sequence[int]) -> Iterator[Frame]:
        """The frames up to the first that torchcodec fails at or sees at another time."""
        if not self._counted.is_plain():
            return
        from torchcodec.decoders import VideoDecoder

        try:
            decoder = VideoDecoder(
                str(self._source) if isinstance(self._source, Path) else _content(self._source),
                stream_index=self._counted.stream_index,
                dimension_order="NHWC",
                seek_mode="exact",
                num_ffmpeg_threads=THREADS,
            )
        except (RuntimeError, ValueError):
            return
        for start in range(0, len(wanted), AT_ONCE):
            part = wanted[start : start + AT_ONCE]
            try:
                batch = decoder.get_frames_at(part)
            except (RuntimeError, ValueError, IndexError):
                return
            pictures: np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]] = batch.data.numpy()
            for index, seconds, pixels in zip(part, batch.pts_seconds.tolist(), pictures, strict=True):
                if not self._counted.seen_at(index, seconds) or pixels.shape[:2] != self.size[::-1]:
                    return
                yield Frame(index, pixels)


def _content(source: io.BufferedIOBase | object) -> bytes:
    stream = source
    assert isinstance(stream, io.BufferedIOBase)
    stream.seek(0)
    return stream.read()
