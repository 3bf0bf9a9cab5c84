"""Image files that Pillow doesn't write: PNGs and TIFFs chunk by chunk."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

from PIL import Image


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    """An image as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(
    size: tuple[int, int],
    depth: int,
    kind: int,
    rows: Sequence[bytes],
    chunks: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """A PNG of rows as they are stored. `kind`: 0 grey, 2 colour, 3 palette, 4 grey and alpha, 6 colour and alpha."""
    header = struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", content), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, parts))


def _chunk(part: tuple[bytes, bytes]) -> bytes:
    name, content = part
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def tiff(
    size: tuple[int, int], bits: Sequence[int], photometric: int, content: bytes, form: int = 1
) -> bytes:
    """A little-endian TIFF in one strip. `form`: 1 unsigned, 2 signed, 3 floats."""
    channels = len(bits)
    many = struct.pack(f"<{channels}H", *bits), struct.pack(f"<{channels}H", *[form] * channels)
    entries = {
        256: size[0],
        257: size[1],
        259: 1,
        262: photometric,
        277: channels,
        278: size[1],
        279: len(content),
    }
    count = len(entries) + 3
    behind = 8 + 2 + 12 * count + 4
    directory: dict[int, bytes] = {
        tag: struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items()
    }
    extra = b""
    for tag, value in ((258, many[0]), (339, many[1])):
        if len(value) <= 4:
            directory[tag] = struct.pack("<HHI", tag, 3, channels) + value.ljust(4, b"\0")
        else:
            directory[tag] = struct.pack("<HHII", tag, 3, channels, behind + len(extra))
            extra += value
    directory[273] = struct.pack("<HHII", 273, 4, 1, behind + len(extra))
    fields = b"".join(directory[tag] for tag in sorted(directory))
    return b"II*\0" + struct.pack("<IH", 8, count) + fields + b"\0" * 4 + extra + content
