#!/usr/bin/env bash
# A greyscale PNG of 2 bits a pixel names grey level 1 of 0 to 3 as transparent.
#
# One would guess: `info["transparency"]` is on the scale of the pixels that Pillow gives, so that convert("RGBA") hides
# the pixels of that grey.
# What happens (Pillow 13.0.0): pixels are scaled to 0, 85, 170, 255, the transparent grey stays 1. No pixel has it, so
# none is transparent: a drawing on a transparent ground gets a grey ground. The same with 4 bits; right with 1 and 8.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Pillow==13.0.0

cat > seen.py <<'PYTHON'
import io
import struct
import zlib

from PIL import Image


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(depth: int, row: bytes) -> bytes:
    """Four grey pixels 0, 1, 0, 1 of `depth` bits, of which grey 1 is transparent."""
    header = struct.pack(">IIBBBBB", 4, 1, depth, 0, 0, 0, 0)
    parts = (b"IHDR", header), (b"tRNS", struct.pack(">H", 1)), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


for depth, row in (1, b"\x50"), (2, b"\x11"), (4, b"\x01\x01"), (8, b"\x00\x01\x00\x01"):
    image = Image.open(io.BytesIO(png(depth, row)))
    pixels = list(image.get_flattened_data())
    alpha = list(image.convert("RGBA").getchannel("A").get_flattened_data())
    print(f"{depth} bits: pixels {pixels}, transparency {image.info['transparency']}, alpha {alpha}")
PYTHON

cat > expected.txt <<'TEXT'
1 bits: pixels [0, 255, 0, 255], transparency 255, alpha [255, 0, 255, 0]
2 bits: pixels [0, 85, 0, 85], transparency 1, alpha [255, 255, 255, 255]
4 bits: pixels [0, 17, 0, 17], transparency 1, alpha [255, 255, 255, 255]
8 bits: pixels [0, 1, 0, 1], transparency 1, alpha [255, 0, 255, 0]
TEXT

venv/bin/python seen.py | tee seen.txt
diff expected.txt seen.txt
