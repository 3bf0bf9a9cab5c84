#!/usr/bin/env bash
# A video file with two picture streams, of which the second is marked as the default one.
#
# One would guess: readers show the stream that players show, the default one.
# What happens (OpenCV 5.0.0.93, decord 0.6.0): OpenCV shows the first stream; decord shows the default one of an MP4 and the
# first one of a Matroska file. Streams here begin with frame 0 and frame 32.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6 decord==0.6.0 opencv-python-headless==5.0.0.93

cat > seen.py <<'PYTHON'
import av
import cv2
import decord
import numbered_video

for path in "two.mp4", "two.mkv":
    with av.open(path, "w") as container:
        streams = [numbered_video.add_video(container) for _ in range(2)]
        streams[0].disposition, streams[1].disposition = av.stream.Disposition(0), av.stream.Disposition.default
        for time in range(25):
            for first, stream in zip((0, 32), streams, strict=True):
                container.mux(stream.encode(numbered_video.frame(first + time, time)))
        for stream in streams:
            container.mux(stream.encode())
    with av.open(path) as container:
        default = [bool(stream.disposition & av.stream.Disposition.default) for stream in container.streams.video]
        best = next(container.decode(container.streams.best("video")))
    print(f"{path}: default {default}, PyAV's best stream begins with", numbered_video.number(best.to_ndarray(format="rgb24")))
    print("  OpenCV:", numbered_video.number(cv2.VideoCapture(path).read()[1]))
    print("  decord:", numbered_video.number(decord.VideoReader(path)[0].asnumpy()))
PYTHON

cat > expected.txt <<'TEXT'
two.mp4: default [False, True], PyAV's best stream begins with 32
  OpenCV: 0
  decord: 32
two.mkv: default [False, True], PyAV's best stream begins with 32
  OpenCV: 0
  decord: 0
TEXT

PYTHONPATH="$here" venv/bin/python seen.py | tee seen.txt
diff expected.txt seen.txt
