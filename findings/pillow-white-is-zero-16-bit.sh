#!/usr/bin/env bash
# Greyscale TIFFs may say that 0 is white (PhotometricInterpretation 0), as scanners and X-ray software do.
#
# One would guess: Pillow turns such greys round for every depth, or for none.
# What happens (Pillow 13.0.0): for 8 bits it does; the same picture with 16 bits (mode I;16) comes out as a negative, and
# nothing but tag 262 tells.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Pillow==13.0.0

cat > seen.py <<'PYTHON'
import io
import struct

from PIL import Image


def tiff(bits: int, photometric: int, data: bytes) -> bytes:
    """One row of four grey pixels, uncompressed."""
    tags = {256: 4, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 1, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


for bits, data in (8, bytes([0, 64, 128, 255])), (16, struct.pack("<4H", 0, 16448, 32896, 65535)):
    for photometric, meaning in (1, "0 is black"), (0, "0 is white"):
        image = Image.open(io.BytesIO(tiff(bits, photometric, data)))
        print(f"{bits} bits, {meaning}: mode {image.mode}, pixels {list(image.get_flattened_data())}")
PYTHON

cat > expected.txt <<'TEXT'
8 bits, 0 is black: mode L, pixels [0, 64, 128, 255]
8 bits, 0 is white: mode L, pixels [255, 191, 127, 0]
16 bits, 0 is black: mode I;16, pixels [0, 16448, 32896, 65535]
16 bits, 0 is white: mode I;16, pixels [0, 16448, 32896, 65535]
TEXT

venv/bin/python seen.py | tee seen.txt
diff expected.txt seen.txt
