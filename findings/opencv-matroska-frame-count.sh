#!/usr/bin/env bash
# A Matroska file whose sound begins at once and whose picture (50 frames, 2 s) begins after five seconds.
#
# One would guess: OpenCV's CAP_PROP_FRAME_COUNT is 50, as for the same streams in an MP4.
# What happens (opencv-python-headless 5.0.0.93): it is 179, the file's length times the frame rate. Of eight indices spread
# over it, six can't be read; code that skips unreadable frames asks a model about two.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6 opencv-python-headless==5.0.0.93

cat > seen.py <<'PYTHON'
import av
import cv2
import numbered_video
import numpy as np

LATE, HERTZ, BLOCK = 5, 8000, 1024

for path in "late.mp4", "late.mkv":
    with av.open(path, "w") as container:
        sound = container.add_stream("aac", rate=HERTZ, layout="mono")
        stream = numbered_video.add_video(container)
        for time in range(50):
            container.mux(stream.encode(numbered_video.frame(time, time + LATE * numbered_video.RATE)))
        container.mux(stream.encode())
        for start in range(0, HERTZ * (LATE + 2), BLOCK):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, BLOCK), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts = HERTZ, start
            container.mux(sound.encode(silence))
        container.mux(sound.encode())
    capture, shown = cv2.VideoCapture(path), []
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    for index in np.linspace(0, count - 1, 8).astype(int):
        capture.set(cv2.CAP_PROP_POS_FRAMES, int(index))
        read, pixels = capture.read()
        shown.append(numbered_video.number(pixels) if read else None)
    print(f"{path}: PyAV {len(numbered_video.shown_by_pyav(path))} frames, OpenCV's count {count}, spread reads {shown}")
PYTHON

cat > expected.txt <<'TEXT'
late.mp4: PyAV 50 frames, OpenCV's count 50, spread reads [0, 7, 14, 21, 28, 35, 42, 49]
late.mkv: PyAV 50 frames, OpenCV's count 179, spread reads [0, 25, None, None, None, None, None, None]
TEXT

PYTHONPATH="$here" venv/bin/python seen.py | tee seen.txt
diff expected.txt seen.txt
