"""Model backends without a model, for measuring everything else: `--backend benchmarks/backends.py:Class`.

All take the model args `marks` (a folder) and `workers`: a worker that is ready waits there until all are, so
that starting processes is not part of what is measured; the file `go` then holds the time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from muster.core import Completion, Media, Request, Usage, VideoSettings
from muster.media.decoded_video import Video
from muster.models.protocol import ModelSettings, RequestStream

POLL_SECONDS = 0.01


def wait_for_all(marks: Path, workers: int) -> None:
    """Return when `workers` processes have called this; the last one writes the time into `go`."""
    (marks / f"ready-{os.getpid()}").touch()
    go = marks / "go"
    while not go.exists():
        if len(list(marks.glob("ready-*"))) >= workers:
            temporary = marks / f".go-{os.getpid()}"
            temporary.write_text(repr(time.time()))
            try:
                os.link(temporary, go)  # the first one counts
            except FileExistsError:
                return
        time.sleep(POLL_SECONDS)


class Instant:
    """Answers one by one and at once, with `characters` of text."""

    def __init__(self, settings: ModelSettings) -> None:
        """Wait for the others."""
        self.args = settings.args
        self.text = "x" * self.number("characters", 8)
        wait_for_all(Path(str(self.args["marks"])), self.number("workers", 1))

    def number(self, name: str, default: int) -> int:
        """A model arg."""
        return int(str(self.args.get(name, default)))

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        """See `Model`."""
        for request in requests:
            yield self.reply(request)

    def reply(self, request: Request) -> Completion:
        """The answer."""
        return Completion(request.key, self.text, usage=Usage(10, 3), seconds=0.0, finish_reason="stop")


class InstantBatches(Instant):
    """Answers static batches of `batch` at once."""

    batched = True

    @property
    def slots(self) -> int:
        """The size of a batch."""
        return self.number("batch", 32)

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        """See `Model`."""
        while batch := requests.take(self.slots):
            yield from map(self.reply, batch)


class Sleeper(Instant):
    """Sleeps for as many microseconds as the sample's id ends with; the process that makes the file `slow`, longer.

    `speed` is that one's; without it all are alike.
    """

    def __init__(self, settings: ModelSettings) -> None:
        """Find out who is slow, and wait for the others."""
        self.speed = 1.0
        if "speed" in settings.args:
            try:
                (Path(str(settings.args["marks"])) / "slow").touch(exist_ok=False)
                self.speed = float(str(settings.args["speed"]))
            except FileExistsError:
                pass
        super().__init__(settings)

    def reply(self, request: Request) -> Completion:
        """The answer, later."""
        began = time.perf_counter()
        time.sleep(int(request.key.sample_id.rpartition("-")[2]) * 1e-6 / self.speed)
        return Completion(request.key, "x", usage=Usage(10, 3), seconds=time.perf_counter() - began)


class Chooser(Instant):
    """Answers multiple-choice questions in two sentences, three in ten wrongly; a few after a long thought."""

    def reply(self, request: Request) -> Completion:
        """The answer, by the number that the sample's id ends with."""
        number = int(request.key.sample_id.lstrip("q"))
        letter = "ABCD"[(number + (number * 7919 % 10 < 3)) % 4]
        text = f"The picture shows a table by a window, and the door is behind whoever looks at it. Answer: {letter}"
        if number % 10_000 == 17:
            text = f"<think>{'and then again ' * 33_334}</think>{text}"
        return Completion(request.key, text, usage=Usage(300, 30), seconds=0.01, finish_reason="stop")


class Watches(Instant):
    """Reads the videos of its requests, as models do; a line of `marks/decoded` is a video that was decoded for it."""

    def __init__(self, settings: ModelSettings) -> None:
        """Count from now on what `load_video` decodes in this process."""
        from muster.media import video

        decode = video._read
        self.decoded = Path(str(settings.args["marks"])) / "decoded"

        def counted(media: Media, settings: VideoSettings) -> Video:
            with self.decoded.open("a") as lines:
                lines.write(f"{media.path}\n")
            return decode(media, settings)

        video._read = counted
        super().__init__(settings)

    def reply(self, request: Request) -> Completion:
        """Decode, and answer."""
        from muster.media.video import load_video

        for media in request.media:
            if media.kind == "video":
                load_video(media)
        return super().reply(request)
