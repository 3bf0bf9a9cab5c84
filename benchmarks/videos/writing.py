"""Video files made with PyAV: encoded from numbered pictures, and packed again in odd ways without encoding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.videos.pictures import HEIGHT, WIDTH, drawn, turned

RATE = 25
FRAMES = 50
SOUND_RATE = 8000
Packets = list[Any]


@dataclass(frozen=True, slots=True)
class Coding:
    """How pictures are encoded."""

    codec: str = "libx264"
    b_frames: int = 2
    gop: int = 12
    pixels: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    width: int = WIDTH
    height: int = HEIGHT
    aspect: Fraction | None = None
    """Of a pixel."""
    matrix: int | None = None
    """The colour matrix, by FFmpeg's number: 1 BT.709, 5 and 6 BT.601."""
    full_range: bool = False


H264 = Coding()
H264_PLAIN = Coding(b_frames=0)
MPEG4 = Coding("mpeg4", b_frames=0)
MPEG4_B = Coding("mpeg4", options={"qscale": "2"})
_DEFAULTS: dict[str, dict[str, str]] = {
    "libx264": {"crf": "10", "preset": "veryfast"},
    "libx265": {"crf": "10", "preset": "ultrafast", "x265-params": "log-level=none:bframes=3:pools=1:frame-threads=1"},
    "libsvtav1": {"crf": "5", "preset": "8", "svtav1-params": "lp=1"},
    "libvpx": {"crf": "4", "b": "2M", "deadline": "realtime", "cpu-used": "8"},
    "libvpx-vp9": {"crf": "10", "b": "0", "deadline": "realtime", "cpu-used": "8"},
}  # fmt: skip


def write(
    path: Path,
    coding: Coding = H264,
    frames: int = FRAMES,
    *,
    numbers: Sequence[int] | None = None,
    times: Iterable[int] | None = None,
    way: tuple[int, bool] = (0, False),
    muxing: dict[str, str] | None = None,
    container: str | None = None,
) -> Path:
    """A video of `frames` numbered pictures. `times` in units of 1/25 s; `way`: quarter turns and whether mirrored."""
    with av.open(str(path), "w", format=container, container_options=muxing or {}) as output:
        stream = add_video(output, coding, swapped=way[0] % 2 == 1)
        for packet in encoded(stream, coding, numbers or range(frames), times, way):
            output.mux(packet)
    return path


def add_video(output: Any, coding: Coding, *, swapped: bool = False) -> Any:
    """A stream that is encoded as `coding` says."""
    options = {**_DEFAULTS.get(coding.codec, {"qscale": "2"}), **coding.options}
    stream = output.add_stream(coding.codec, rate=RATE, options=options)
    stream.width, stream.height = coding.width, coding.height
    if swapped:
        stream.width, stream.height = coding.height, coding.width
    stream.pix_fmt, stream.gop_size = coding.pixels, coding.gop
    context = stream.codec_context
    context.thread_count = 1
    if coding.codec in ("libx264", "mpeg4", "mpeg2video"):
        context.max_b_frames = coding.b_frames
    if coding.codec in ("mpeg4", "mpeg2video", "mjpeg", "flv", "h263", "wmv2"):
        context.bit_rate = 4_000_000
        context.qmin, context.qmax = 2, 4
    if coding.aspect is not None:
        context.sample_aspect_ratio = coding.aspect
    if coding.matrix is not None:
        context.colorspace = context.color_primaries = context.color_trc = coding.matrix
    if coding.full_range:
        context.color_range = 2
    return stream


def encoded(
    stream: Any,
    coding: Coding,
    numbers: Sequence[int],
    times: Iterable[int] | None = None,
    way: tuple[int, bool] = (0, False),
) -> Packets:
    """The packets of numbered pictures."""
    packets: Packets = []
    for number, time in zip(numbers, times or range(len(numbers)), strict=False):
        picture = turned(drawn(number, coding.width, coding.height), way[0], mirrored=way[1])
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame = frame.reformat(
            format=coding.pixels,
            dst_colorspace=coding.matrix if coding.matrix == 1 else None,
            dst_color_range=2 if coding.full_range else None,
        )
        frame.pts, frame.time_base = time, Fraction(1, RATE)
        packets += stream.encode(frame)
    return packets + list(stream.encode(None))


def repacked(
    source: Path,
    target: Path,
    change: Callable[[Packets], Packets] = list,
    *,
    muxing: dict[str, str] | None = None,
    container: str | None = None,
    sound: tuple[float, float] | None = None,
    filters: str | None = None,
) -> Path:
    """The packets of a file in another one, after `change`. `sound`: from and to which second there is sound."""
    with (
        av.open(str(source)) as read,
        av.open(str(target), "w", format=container, container_options=muxing or {}) as output,
    ):
        found = read.streams.video[0]
        stream = output.add_stream_from_template(found)
        voice: Any = output.add_stream("aac", rate=SOUND_RATE, layout="mono") if sound else None
        packets: Packets = [packet for packet in read.demux(found) if packet.size]
        if filters:
            filtering = av.BitStreamFilterContext(filters, found)
            packets = [new for packet in packets for new in filtering.filter(packet)] + filtering.filter(None)
        packets = change(packets)
        if voice is not None and sound is not None:
            output.mux(silence(voice, *sound))
        for packet in packets:
            packet.stream = stream
            output.mux(packet)
    return target


def silence(stream: Any, begin: float, end: float) -> Packets:
    """Sound between two seconds, encoded."""
    packets: Packets = []
    for start in range(int(begin * SOUND_RATE), int(end * SOUND_RATE), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, start, Fraction(1, SOUND_RATE)
        packets += stream.encode(frame)
    return packets + list(stream.encode(None))
