"""What a video's packets say of its frames: a pass over the file that decodes nothing.

Most files say when each frame is seen, and then any frame can be sought. Where what they say can't be right, or is no
order in which frames are seen, nothing is believed, and frames are counted as they are decoded: what players do.
"""

from __future__ import annotations

import bisect
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from muster.core import SampleError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

MOST_MISSING = 0.1
"""How much shorter than its header says a video may be before it counts as cut off."""
LEAST_MISSING = 0.5
"""Seconds. A clip of a few frames may lose one."""
MOST_REORDERED = 32
"""Places between decoding and showing a frame. No code allows more than 16 frames in between."""
VP8_SHOWN = 0x10
"""The bit of a VP8 frame's first byte that says that it is shown (RFC 6386, 9.1)."""


class PacketIndex(NamedTuple):
    """The frames in the order in which they are seen."""

    times: array[int]
    """When each is seen, in the stream's time base; empty where only counting them tells which is which."""
    keys: list[int]
    """Which of them decoding can begin at, ascending; the first one among them."""
    delay: int = 0
    """How long before they are seen key frames are decoded, at most."""


COUNTED = PacketIndex(array("q"), [])


def read_index(stream: VideoStream) -> PacketIndex:
    """Read all packets of a stream. Raises `SampleError` for a video without frames and for one that is cut off."""
    times, keys = array("q"), array("q")
    container = cast("InputContainer", stream.container)
    packets, end, latest, delay, believed = 0, 0, -(1 << 63), 0, True
    for packet in container.demux(stream):
        if packet.size == 0 or packet.is_discard or _is_hidden(stream, packet):
            continue
        packets += 1
        if packet.pts is None or packet.is_corrupt:
            believed = False
            continue
        times.append(packet.pts)
        end = max(end, packet.pts + (packet.duration or 0))
        if packet.is_keyframe:
            keys.append(packet.pts)
            delay = max(delay, packet.pts - (packet.pts if packet.dts is None else packet.dts))
            believed = (
                believed and latest < packet.pts
            )  # what is decoded before a key frame is seen before it
        latest = max(latest, packet.pts)
    if not packets:
        raise SampleError("has no frames")
    if times:
        _check_whole(stream, min(times), end)
    ordered = array("q", sorted(times))
    if not believed or not _is_an_order(times, ordered, reorders=stream.codec_context.has_b_frames):
        return COUNTED
    starts = {bisect.bisect_left(ordered, key) for key in keys}
    return PacketIndex(ordered, sorted(starts | {0}), delay)


def _is_hidden(stream: VideoStream, packet: Packet[VideoStream]) -> bool:
    """Whether a packet holds a frame that others are made from and nobody sees. Other codes pack it with a seen one."""
    return stream.codec_context.name == "vp8" and not memoryview(packet)[0] & VP8_SHOWN


def _is_an_order(times: Sequence[int], ordered: Sequence[int], *, reorders: bool) -> bool:
    """Whether times, in the order of decoding, can be those at which frames are seen."""
    if len(set(times)) < len(times):
        return False
    if reorders and list(times) == list(ordered):
        return False  # an AVI's times of decoding, which other containers took for those of showing
    places = {time: place for place, time in enumerate(ordered)}
    return all(abs(places[time] - place) <= MOST_REORDERED for place, time in enumerate(times))


def _check_whole(stream: VideoStream, begin: int, end: int) -> None:
    """Compare what there is with what the header says, where the header was not made up from what there is."""
    stated = _stated_seconds(stream, begin)
    if stated is None or stream.time_base is None:
        return
    there = float((end - begin) * stream.time_base)
    if stated - there > max(MOST_MISSING * stated, LEAST_MISSING):
        raise SampleError(f"is cut off: {there:.1f} s of {stated:.1f} s are there")


def _stated_seconds(stream: VideoStream, begin: int) -> float | None:
    """How long the header says that the video is: the table of frames, Matroska's tag. None where it says nothing.

    AVI counts from the file's beginning. So does FFmpeg's tag in Matroska, and mkvmerge's counts from the video's; the
    smaller is taken.
    """
    time_base = stream.time_base
    if time_base is None:
        return None
    if stream.frames and stream.duration is not None and stream.container.format.name != "avi":
        return float(stream.duration * time_base)
    stated = _from_the_beginning(stream)
    if stated is None:
        return None
    late = float(begin * time_base)
    return stated - late if 0 < late < stated else stated


def _from_the_beginning(stream: VideoStream) -> float | None:
    if stream.frames and stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    tag = stream.metadata.get("DURATION", "").split(":")
    try:
        hours, minutes, seconds = map(float, tag)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds
