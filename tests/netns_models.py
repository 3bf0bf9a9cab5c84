"""Backends that show what a worker could read of its images, and pictures to read."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from muster.core import Completion, Failure, Request, RequestError
from muster.media import load_image
from muster.models.protocol import ModelSettings, RequestStream


class Gated:
    """Answers as `fake_models.Echo`, `free` requests at once and the rest when the file `gate` exists.

    On a host that doesn't see the gate's folder nothing waits. `seconds`: how long each takes.
    """

    def __init__(self, settings: ModelSettings) -> None:
        self.free = int(str(settings.args.get("free", 5)))
        self.gate = Path(str(settings.args["gate"]))
        self.seconds = float(str(settings.args.get("seconds", 0)))

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        for request in requests:
            while self.free <= 0 and self.gate.parent.exists() and not self.gate.exists():
                time.sleep(0.05)
            self.free -= 1
            time.sleep(self.seconds)
            yield Completion(request.key, f"answer {request.key.sample_id}")


class Unhurried:
    """Answers as `fake_models.Echo`: three requests at once, then each in `seconds`, until the file `until` exists."""

    def __init__(self, settings: ModelSettings) -> None:
        self.until = Path(str(settings.args["until"]))
        self.seconds = float(str(settings.args["seconds"]))
        self.free = 3

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        for request in requests:
            done = time.monotonic() + (self.seconds if self.free <= 0 else 0)
            self.free -= 1
            while time.monotonic() < done and not self.until.exists():
                time.sleep(0.05)
            yield Completion(request.key, f"answer {request.key.sample_id}")


class Pixels:
    """Answers with the first pixel of every image, or fails as the images do. `seconds`: how long each takes."""

    def __init__(self, settings: ModelSettings) -> None:
        self.seconds = float(str(settings.args.get("seconds", 0)))

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        for request in requests:
            time.sleep(self.seconds)
            try:
                yield Completion(
                    request.key, " ".join(map(self.pixel, range(len(request.media)), [request] * 9))
                )
            except RequestError as error:
                yield Completion(request.key, failure=Failure.from_exception(error))

    @staticmethod
    def pixel(number: int, request: Request) -> str:
        return str(load_image(request.media[number]).getpixel((0, 0)))


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def write_pictures(folder: Path, count: int) -> Path:
    """Questions about images given as paths, every third as a data URI; `s5`'s file is missing."""
    (folder / "img").mkdir(parents=True)
    rows = []
    for number in range(count):
        name = f"img/{number}.png"
        (folder / name).write_bytes(png(number))
        uri = "data:image/png;base64," + base64.b64encode(png(number)).decode()
        image = uri if number % 3 == 2 and number != 5 else name
        rows.append({"id": f"s{number}", "question": "?", "image": image, "answer": f"({number}, 0, 0)"})
    (folder / "img" / "5.png").unlink()
    (folder / "echo.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = folder / "echo.yaml"
    task.write_text("name: echo\nsource: {file: echo.jsonl}\nmetric: {name: exact_match}\n")
    return task
