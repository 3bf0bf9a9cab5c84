"""Which kind of video file some bytes begin, by the signatures of the containers that are read (`readers/decoding.py`).

A file may be called `.mp4` and be anything, and what is sent to a server as it is was seen by nobody here.
"""

from __future__ import annotations

from typing import Final

HEAD: Final = 1024
"""Bytes that are looked at."""
_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
"""What an MP4 or QuickTime file begins with, after four bytes of size."""
_PICTURES = frozenset({b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"})
"""MP4's brands of files that are pictures."""
_STARTS = (
    (b"\x00\x00\x01\xba", "video/mpeg"),
    (b"\x00\x00\x01\xb3", "video/mpeg"),
    (b"FLV\x01", "video/x-flv"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-asf"),
    (b"OggS", "video/ogg"),
    (b"DKIF", "video/x-ivf"),
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01", "application/mxf"),
    (b".RMF", "application/vnd.rn-realmedia"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_TS_PACKETS = ((0, 188), (4, 192))
"""Where the first packet of an MPEG transport stream begins, and how far apart they are."""
_TS_SYNC = 0x47
_TS_SEEN = 3


def video_type(head: bytes) -> str | None:
    """The media type of a video file that begins with `head` (`HEAD` bytes, or all where it has fewer).

    None: it is no video, or a bare stream that no container holds.
    """
    for start, media_type in _STARTS:
        if head.startswith(start):
            return media_type
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if head[:4] == b"RIFF":
        return "video/x-msvideo" if head[8:12] == b"AVI " else None
    if head[4:8] in _BOXES:
        if head[4:8] == b"ftyp" and head[8:12] in _PICTURES:
            return None
        return "video/quicktime" if head[4:12] == b"ftypqt  " else "video/mp4"
    return "video/mp2t" if any(_is_transport(head, *packets) for packets in _TS_PACKETS) else None


def _is_transport(head: bytes, first: int, apart: int) -> bool:
    seen = head[first::apart][:_TS_SEEN]
    return len(seen) == _TS_SEEN and all(byte == _TS_SYNC for byte in seen)
