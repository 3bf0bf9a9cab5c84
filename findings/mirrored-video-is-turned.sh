#!/usr/bin/env bash
# An MP4's display matrix may mirror the picture, as front cameras do. The stored picture is White Red / Green Blue.
#
# One would guess: readers that heed the matrix show Red White / Blue Green.
# What happens (decord 0.6.0, OpenCV 5.0.0.93, PyAV 18.1.0): decord and OpenCV turn it by 180 degrees, upside down and not
# mirrored, and PyAV's `VideoFrame.rotation` says -180, as for a matrix that does turn it. Only the matrix itself tells.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6 decord==0.6.0 opencv-python-headless==5.0.0.93

cat > seen.py <<'PYTHON'
import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import decord
import numpy as np

COLOURS = {(1, 1, 1): "White", (1, 0, 0): "Red", (0, 1, 0): "Green", (0, 0, 1): "Blue"}
ONE, SIDE = 1 << 16, 64


def quarters(pixels: np.ndarray) -> str:
    names = [COLOURS[tuple(int(value > 128) for value in pixels[y, x])] for y in (16, 48) for x in (16, 48)]
    return "{} {} / {} {}".format(*names)


stored = np.zeros((SIDE, SIDE, 3), np.uint8)
stored[:32, :32], stored[:32, 32:], stored[32:, :32], stored[32:, 32:] = 255, (255, 0, 0), (0, 255, 0), (0, 0, 255)
with av.open("plain.mp4", "w") as container:
    stream = container.add_stream("libx264", rate=25)
    stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
    for time in range(5):
        frame = av.VideoFrame.from_ndarray(stored, format="rgb24")
        frame.pts, frame.time_base = time, Fraction(1, 25)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())

film = Path("plain.mp4").read_bytes()
place = film.index(b"tkhd") + 44  # the matrix of a track header of version 0
for name, matrix in {
    "mirrored": (-ONE, 0, 0, 0, ONE, 0, SIDE * ONE, 0, 1 << 30),
    "turned": (-ONE, 0, 0, 0, -ONE, 0, SIDE * ONE, SIDE * ONE, 1 << 30),
}.items():
    path = f"{name}.mp4"
    Path(path).write_bytes(film[:place] + struct.pack(">9i", *matrix) + film[place + 36 :])
    with av.open(path) as container:
        frame = next(container.decode(video=0))
    print(f"{name}: PyAV's rotation {frame.rotation}")
    print("  decord:", quarters(decord.VideoReader(path)[0].asnumpy()))
    print("  OpenCV:", quarters(cv2.VideoCapture(path).read()[1][:, :, ::-1]))
PYTHON

cat > expected.txt <<'TEXT'
mirrored: PyAV's rotation -180
  decord: Blue Green / Red White
  OpenCV: Blue Green / Red White
turned: PyAV's rotation -180
  decord: Blue Green / Red White
  OpenCV: Blue Green / Red White
TEXT

venv/bin/python seen.py | tee seen.txt
diff expected.txt seen.txt
