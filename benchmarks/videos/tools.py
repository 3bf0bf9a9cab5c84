"""What each tool shows of video files: one line of JSON for each file, in an interpreter that has the tool.

PYTHONPATH=src python -m benchmarks.videos.tools decord a.mp4 b.mkv
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.videos.shown import Shown, spread

EVERY_FRAME = 1000
"""A second, with sampling `fps`: the step of one frame."""


def main() -> None:
    """Read the files that are named."""
    tool, *files = sys.argv[1:]
    sys.stdout.write(json.dumps({"version": VERSIONS[tool]()}) + "\n")
    for file in files:
        sys.stdout.write(json.dumps(shown_by(tool, Path(file)).to_json()) + "\n")
        sys.stdout.flush()


def shown_by(tool: str, path: Path) -> Shown:
    """What a tool shows of a file."""
    shown = Shown()
    try:
        TOOLS[tool](path, shown)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = lines[0] if lines else type(error).__name__
        shown.error = re.sub(r"\S*/(?=[\w.-])|^\[[\d:]+\] ", "", said).replace("|", " ")[:70]
    return shown


def _muster(path: Path, shown: Shown) -> None:
    from muster.core import Media, VideoSettings
    from muster.media.video import load_video

    os.environ["MUSTER_FRAME_CACHE"] = "0"
    video = load_video(Media("video", path=str(path), shown=VideoSettings("fps", fps=EVERY_FRAME)))
    shown.add(video.pixels)
    shown.fps = video.fps
    shown.add(load_video(Media("video", path=str(path), shown=VideoSettings(frames=8))).pixels, sought=True)


def _muster_torchcodec(path: Path, shown: Shown) -> None:
    os.environ["MUSTER_VIDEO_READER"] = "torchcodec"
    _muster(path, shown)


def _player(path: Path, shown: Shown) -> None:
    """FFmpeg's program shows what players show, and can write it down."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-vsync", "passthrough", "-pix_fmt", "rgb24"]
    done = subprocess.run(
        [*command, "-f", "image2pipe", "-c:v", "ppm", "-"], capture_output=True, check=False
    )
    content, place, pictures = done.stdout, 0, []
    while place < len(content):
        kind, size, most = content[place : place + 30].split(b"\n", 3)[:3]
        width, height = map(int, size.split())
        place += len(kind) + len(size) + len(most) + 3
        pictures.append(np.frombuffer(content, np.uint8, width * height * 3, place).reshape(height, width, 3))
        place += width * height * 3
    shown.add(pictures)


def _decord(path: Path, shown: Shown) -> None:
    import decord

    video = decord.VideoReader(str(path), num_threads=1)
    shown.fps = float(video.get_avg_fps())
    shown.add(video.get_batch(list(range(len(video)))).asnumpy())
    again = decord.VideoReader(str(path), num_threads=1)
    shown.add(again.get_batch(spread(len(again))).asnumpy(), sought=True)


def _torchcodec(path: Path, shown: Shown) -> None:
    from torchcodec.decoders import VideoDecoder

    video = VideoDecoder(str(path), dimension_order="NHWC")
    shown.fps = video.metadata.average_fps
    shown.add(frame.data.numpy() for frame in map(video.get_frame_at, range(len(video))))
    again = VideoDecoder(str(path), dimension_order="NHWC")
    shown.add(again.get_frames_at(spread(len(again))).data.numpy(), sought=True)


def _opencv(path: Path, shown: Shown) -> None:
    import cv2

    video = cv2.VideoCapture(str(path))
    shown.fps = video.get(cv2.CAP_PROP_FPS)
    while True:
        there, picture = video.read()
        if not there:
            break
        shown.add([picture[:, :, ::-1]])
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    again = cv2.VideoCapture(str(path))
    for index in spread(count) if count > 0 else []:
        again.set(cv2.CAP_PROP_POS_FRAMES, index)
        there, picture = again.read()
        if there:
            shown.add([picture[:, :, ::-1]], sought=True)
        else:
            shown.sought.append(-1)
    if not shown.numbers:
        raise ValueError("shows nothing")


def _version(module: str) -> str:
    return f"{module} {__import__(module).__version__}"


def _ffmpeg_version() -> str:
    done = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True)
    return "FFmpeg " + done.stdout.split()[2]


def _torchcodec_version() -> str:
    import torchcodec

    return f"torchcodec {torchcodec.__version__} with FFmpeg {torchcodec.ffmpeg_major_version}"


TOOLS: dict[str, Callable[[Path, Shown], None]] = {
    "player": _player,
    "muster": _muster,
    "muster-torchcodec": _muster_torchcodec,
    "decord": _decord,
    "torchcodec": _torchcodec,
    "opencv": _opencv,
}
VERSIONS: dict[str, Callable[[], str]] = {
    "player": _ffmpeg_version,
    "muster": lambda: f"PyAV {__import__('av').__version__}",
    "muster-torchcodec": _torchcodec_version,
    "decord": lambda: _version("decord"),
    "torchcodec": _torchcodec_version,
    "opencv": lambda: f"OpenCV {__import__('cv2').__version__}",
}

if __name__ == "__main__":
    main()
