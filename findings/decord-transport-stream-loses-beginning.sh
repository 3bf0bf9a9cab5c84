#!/usr/bin/env bash
# H.264 in an MPEG transport stream (.ts, as cameras and broadcasters write), 50 frames.
#
# One would guess: fifty frames, from the first to the last.
# What happens (decord 0.6.0): len() is 50, the first group of pictures is missing, and the last frame is repeated until
# there are fifty. No error, and index 0 shows what happened a third of a second in.
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

numbered_video.write("film.ts")
video = decord.VideoReader("film.ts")
print("PyAV:", numbered_video.shown_by_pyav("film.ts") == list(range(50)))
print("decord promises:", len(video))
print("decord shows:", numbered_video.numbers(video.get_batch(list(range(len(video)))).asnumpy()))
PYTHON

cat > expected.txt <<'TEXT'
PyAV: True
decord promises: 50
decord shows: [8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 49, 49, 49, 49, 49, 49, 49, 49]
TEXT

PYTHONPATH="$here" venv/bin/python seen.py | tee seen.txt
diff expected.txt seen.txt
