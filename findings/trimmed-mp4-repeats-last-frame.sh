#!/usr/bin/env bash
# A clip cut out of an MP4 without encoding keeps the frames from the key frame before the cut on, and an edit list that
# says from where on to show. Here 30 frames are shown and 4 kept before them.
#
# One would guess: a reader has 30 frames (as players show), or all 34.
# What happens (decord 0.6.0, OpenCV 5.0.0.93): both count 34. decord shows the right 30 and then the last frame four
# times more, so samples spread over len() are late and end in copies; OpenCV shows 30 and stops.
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

numbered_video.write("film.mp4")
with av.open("film.mp4") as film, av.open("clip.mp4", "w") as clip:
    source = film.streams.video[0]
    target = clip.add_stream_from_template(source)
    step = int(1 / (numbered_video.RATE * source.time_base))
    for packet in film.demux(source):
        if packet.dts is not None and packet.pts >= 16 * step:
            packet.pts -= 20 * step
            packet.dts -= 20 * step
            packet.stream = target
            clip.mux(packet)

print("PyAV:", numbered_video.shown_by_pyav("clip.mp4"))
video = decord.VideoReader("clip.mp4")
print("decord:", len(video), numbered_video.numbers(video.get_batch(list(range(len(video)))).asnumpy()))
capture, shown = cv2.VideoCapture("clip.mp4"), []
while (read := capture.read())[0]:
    shown.append(numbered_video.number(read[1]))
print("OpenCV:", int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), shown)
PYTHON

cat > expected.txt <<'TEXT'
PyAV: [20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49]
decord: 34 [20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 49, 49, 49, 49]
OpenCV: 34 [20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49]
TEXT

PYTHONPATH="$here" venv/bin/python seen.py | tee seen.txt
diff expected.txt seen.txt
