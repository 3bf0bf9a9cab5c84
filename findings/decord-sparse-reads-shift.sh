#!/usr/bin/env bash
# An ordinary HEVC MP4 (x265, open groups of pictures, three B-frames, key frame every 12 frames, 50 frames).
#
# One would guess: decord's frame 21 is frame 21, whichever frames were asked for before.
# What happens (decord 0.6.0): get_batch of all frames gives all in order; of eight frames spread over the video, as video
# evaluations sample them, four are others: 24, 31, 38 and 45 in place of 21, 28, 35 and 42.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6 decord==0.6.0

cat > seen.py <<'PYTHON'
import decord
import numbered_video

numbered_video.write(
    "film.mp4", "libx265", {"x265-params": "log-level=none:keyint=12:bframes=3:b-adapt=0:scenecut=0"}
)
spread = [0, 7, 14, 21, 28, 35, 42, 49]
print("PyAV:", [numbered_video.shown_by_pyav("film.mp4")[index] for index in spread])
everything = decord.VideoReader("film.mp4").get_batch(list(range(50))).asnumpy()
print("decord, all read, then picked:", [numbered_video.number(everything[index]) for index in spread])
print("decord, these read:", numbered_video.numbers(decord.VideoReader("film.mp4").get_batch(spread).asnumpy()))
PYTHON

cat > expected.txt <<'TEXT'
PyAV: [0, 7, 14, 21, 28, 35, 42, 49]
decord, all read, then picked: [0, 7, 14, 21, 28, 35, 42, 49]
decord, these read: [0, 7, 14, 24, 31, 38, 45, 49]
TEXT

PYTHONPATH="$here" venv/bin/python seen.py | tee seen.txt
diff expected.txt seen.txt
