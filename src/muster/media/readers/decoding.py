"""A video file's stream of pictures, and its frames in the order in which players show them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from muster.core import SampleError
from muster.media.readers.protocol import Source

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,av1,obu,ivf,"
    "flv,asf,ogg,gif,mxf,rm"
)
"""FFmpeg's names of what is read. Not among them: playlists, which can name other files of this machine."""
MOST_PIXELS = 1 << 27
"""Of one frame: 16,384×8,192."""
THREADS = 4


class Opened(NamedTuple):
    """A file and its stream of pictures, which is gone when the file is closed."""

    container: InputContainer
    stream: VideoStream


def open_stream(source: Source, *, one_by_one: bool = False) -> Opened:
    """Open the stream that players show. `one_by_one`: a frame that fails takes no others with it, which is slower.

    Raises `SampleError` where there is none, and FFmpeg's errors.
    """
    import av

    if not isinstance(source, Path):
        source.seek(0)
    container = av.open(
        source, mode="r", options={"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    )
    try:
        stream = _shown_stream(container)
    except SampleError:
        container.close()
        raise
    stream.thread_type = "SLICE" if one_by_one else "AUTO"
    stream.codec_context.thread_count = THREADS
    return Opened(container, stream)


def _shown_stream(container: InputContainer) -> VideoStream:
    """The default one, and never the cover of a song or thumbnails."""
    from av.stream import Disposition

    pictures = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & pictures]
    if not streams:
        raise SampleError("has no video in it, only sound or data")
    best = container.streams.best("video")
    stream = next((stream for stream in streams if best is not None and stream.index == best.index), None)
    if stream is None:
        stream = max(streams, key=lambda stream: bool(stream.disposition & Disposition.default))
    if stream.width * stream.height > MOST_PIXELS:
        raise SampleError(f"has frames of {stream.width}×{stream.height} pixels, too large to decode")
    return stream


def decoded_frames(stream: VideoStream) -> Iterator[VideoFrame]:
    """The frames as they are seen.

    What a cut has left before the first frame or of the last packet is passed over, as players do. Raises
    `InvalidDataError` where more comes after what can't be decoded.
    """
    from av.error import InvalidDataError

    container = cast("InputContainer", stream.container)
    begun = False
    failed: InvalidDataError | None = None
    lossy = container.format.name == "mpegts"  # whose packets are called damaged when anything was lost
    for packet in container.demux(stream):
        if packet.is_corrupt and not lossy:
            continue
        try:
            frames = packet.decode()
        except InvalidDataError as error:
            if begun and not packet.is_corrupt:
                failed = error
            continue
        for frame in frames:
            if failed is not None and packet.size:
                raise failed
            begun = True
            yield frame
