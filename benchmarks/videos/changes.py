"""Changes of packets, and of finished files, that real files have and no encoder makes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import av

Packets = list[Any]
Change = Callable[[Packets], Packets]

KEEP_NEGATIVE = {"avoid_negative_ts": "disabled"}
IDENTITY = (1, 0, 0, 1)
VOP_NOT_CODED = bytes.fromhex("000001b650f07f")
"""An MPEG-4 picture that says that nothing has changed."""
DIVX_PACKED = b"\x00\x00\x01\xb2DivX503b1393p"
"""What DivX writes into files whose B-frames share a packet with the frame they follow."""


def shifted(seconds: float) -> Change:
    """Everything is seen so much later."""

    def change(packets: Packets) -> Packets:
        for packet in packets:
            late = int(seconds / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts + late
            packet.dts = None if packet.dts is None else packet.dts + late
        return packets

    return change


def in_coding_order(packets: Packets) -> Packets:
    """The times of an AVI, which are those of decoding, taken for those of showing."""
    step = packets[0].duration
    for place, packet in enumerate(packets):
        packet.pts = packet.dts = place * step
    return packets


def cut(begin: int, end: int | None = None, *, at: int | None = None) -> Change:
    """Packets `begin` to `end` in coding order; what is seen of the whole at frame `at` is seen at 0."""

    def change(packets: Packets) -> Packets:
        kept = packets[begin:end]
        late = sorted(packet.pts for packet in packets)[at if at is not None else begin]
        for packet in kept:
            packet.pts -= late
            packet.dts -= late
        return kept

    return change


def without(places: Iterable[int]) -> Change:
    """Some packets are lost."""
    lost = set(places)
    return lambda packets: [packet for place, packet in enumerate(packets) if place not in lost]


def all_keys(packets: Packets) -> Packets:
    """Every frame is called one at which decoding can begin, as files without a list of them do."""
    for packet in packets:
        packet.is_keyframe = True
    return packets


def twice(place: int) -> Change:
    """A frame has the time of the one after it."""

    def change(packets: Packets) -> Packets:
        packets[place].pts = packets[place + 1].pts
        return packets

    return change


def hidden_keys(packets: Packets) -> Packets:
    """VP8's frames that are decoded and not shown, a tick after the frame before, as libvpx writes them."""
    changed: Packets = []
    for place, packet in enumerate(packets):
        if packet.is_keyframe and place:
            content = bytearray(bytes(packet))
            content[0] &= ~0x10  # show_frame (RFC 6386, 9.1)
            hidden = like(packet, bytes(content))
            hidden.pts = hidden.dts = packets[place - 1].pts + 1
            changed.append(hidden)
        changed.append(packet)
    return changed


def packed_b_frames(packets: Packets) -> Packets:
    """DivX's way of putting B-frames into an AVI: two in one packet, then one that says nothing."""
    changed: Packets = []
    place = 0
    while place < len(packets):
        pair = packets[place : place + 2]
        content = b"".join(bytes(packet) for packet in pair)
        if place == 0:  # nothing is before the first frame
            pair, content = packets[:1], _marked(bytes(packets[0]))
        changed.append(like(pair[0], content))
        changed += [like(packet, VOP_NOT_CODED, key=False) for packet in pair[1:]]
        place += len(pair)
    for number, packet in enumerate(changed):
        packet.pts = packet.dts = number
    return changed


def _marked(packet: bytes) -> bytes:
    picture = packet.index(b"\x00\x00\x01\xb6")
    return packet[:picture] + DIVX_PACKED + packet[picture:]


def like(packet: Any, content: bytes, *, key: bool | None = None) -> Any:
    """A packet with other content."""
    new = av.Packet(content)
    new.time_base, new.pts, new.dts, new.duration = packet.time_base, packet.pts, packet.dts, packet.duration
    new.is_keyframe = packet.is_keyframe if key is None else key
    return new


def shown_by(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """The same MP4 with another display matrix (a, b, c, d: a point goes to ax+cy, bx+dy)."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4
    place += 4 + (32 if content[place] == 1 else 20) + 16
    a, b, c, d = (entry << 16 for entry in matrix)
    struct.pack_into(">9i", content, place, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def shortened(path: Path, share: float) -> Path:
    """The same file without its end."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def joined(path: Path, *parts: Path) -> Path:
    """Files one behind the other."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path
