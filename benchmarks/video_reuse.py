"""How often a video is decoded on which many questions are asked (LVBench asks about fifteen).

    python -m benchmarks.video_reuse [--quick]

Real worker processes on one machine claim the questions from the queue and read the frames that they would show a
model; each decoding is counted, over decoding each video exactly once. Exits 1 if that is more than 1.1 with any number
of workers.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.runs import measured_run, scratch, write_benchmark
from benchmarks.tables import asked_for_quick, machine, say, table, verdict
from benchmarks.videos.writing import RATE, Coding, write

AIM = 1.1
WORKERS = (1, 4, 16)
QUESTIONS = 15
FRAMES = 32
SECONDS = 40


def main() -> int:
    """Print the table; 1 if the aim was missed."""
    quick = asked_for_quick(__doc__)
    videos, workers = (3, (1, 2)) if quick else (24, WORKERS)
    print(f"# Videos that many questions share\n\n{machine()}")
    say(f"{videos} videos of {SECONDS} seconds, {QUESTIONS} questions each, {FRAMES} frames shown.")
    rows, worst = [], 0.0
    with scratch() as folder:
        (folder / "videos").mkdir()
        first = folder / "videos" / "0.mp4"
        pictures = [number % 50 for number in range(SECONDS * RATE)]
        write(first, Coding(width=480, height=320), numbers=pictures, frames=len(pictures))
        for number in range(1, videos):  # told apart by their times, as the cache tells them
            copied = folder / "videos" / f"{number}.mp4"
            shutil.copyfile(first, copied)
            os.utime(copied, ns=(time.time_ns(), number))
        task = write_benchmark(folder, _questions(videos), "watched")
        for count in workers:
            decoded, seconds = _measured(folder, task, count)
            worst = max(worst, decoded / videos)
            rows.append([str(count), str(decoded), f"{decoded / videos:.2f}", f"{seconds:.1f}"])
    table(
        "Decodings over decoding each video once",
        ["workers", "decodings", "ratio", "first claim to last answer, s"],
        rows,
    )
    return 0 if verdict(f"at most {AIM} times", worst <= AIM) else 1


def _measured(folder: Path, task: Path, workers: int) -> tuple[int, float]:
    """How many videos were decoded, and how long the run took."""
    os.environ["MUSTER_CACHE"] = str(folder / f"cache-{workers}")
    output = folder / str(workers)
    times = measured_run(
        task, "Watches", output, engine="local", workers=workers, options=("--video", f"frames={FRAMES}")
    )
    decoded = output.with_name(f"{output.name}-marks") / "decoded"
    return len(decoded.read_text().splitlines()), times.answered - times.ready


def _questions(videos: int) -> Iterator[dict[str, object]]:
    for video in range(videos):
        for question in range(QUESTIONS):
            yield {
                "id": f"{video}-{question}",
                "question": f"What happens in part {question} of the video?",
                "video": f"videos/{video}.mp4",
                "answer": "x" * 8,
            }


if __name__ == "__main__":
    sys.exit(main())
