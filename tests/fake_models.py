"""Backends for tests of everything around the model: real processes, answers without a network or weights.

Named on the command line as `--backend tests/fake_models.py:Class`. `--model-args` say how they behave.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from muster.core import Completion, ConfigurationError, Failure, ReplicaError, Request, Usage
from muster.models.protocol import ModelSettings, RequestStream


class Echo:
    """Answers with the sample's id, one by one. `seconds`: how long each takes."""

    def __init__(self, settings: ModelSettings) -> None:
        self.args = settings.args
        time.sleep(self.number("load_seconds"))

    def number(self, name: str) -> float:
        return float(str(self.args.get(name, 0)))

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        for request in requests:
            self.touch(request)
            yield self.reply(request)

    def touch(self, request: Request) -> None:
        if seconds := self.number("seconds"):
            time.sleep(seconds)

    def reply(self, request: Request) -> Completion:
        return Completion(
            request.key, f"answer {request.key.sample_id}", usage=Usage(10, 3), finish_reason="stop"
        )


class Looks(Echo):
    """Decodes the prompt's media, and answers with the number and sizes of its images, and its videos' frames."""

    def reply(self, request: Request) -> Completion:
        from muster.media import load_image  # most fakes need none of these, and are loaded hundreds of times
        from muster.media.video import load_video

        sizes = [load_image(media).size for media in request.media if media.kind == "image"]
        videos = [load_video(media).indices for media in request.media if media.kind == "video"]
        text = f"{len(sizes)} images {sizes}, {len(videos)} videos {videos}"
        return Completion(request.key, text)


class Remembers(Echo):
    """Answers with the sample's id and, in brackets, what it is told that it answered before: `d-3(d-2(d-1()))`."""

    def reply(self, request: Request) -> Completion:
        said = [message.text for message in request.messages if message.role == "assistant"]
        text = f"{request.key.sample_id}({said[-1] if said else ''})"
        return Completion(request.key, text, usage=Usage(10, len(text)), finish_reason="stop")


class Repeats(Echo):
    """Answers with the last message's text, and how many pictures it has, in brackets."""

    def reply(self, request: Request) -> Completion:
        said = f"{request.messages[-1].text} [{len(request.media)}]"
        return Completion(request.key, said, usage=Usage(10, len(said)), finish_reason="stop")


class SaysRaise(Repeats):
    """Answers `raise` to the sample `raises`."""

    def reply(self, request: Request) -> Completion:
        if request.key.sample_id == str(self.args["raises"]):
            return Completion(request.key, "raise")
        return super().reply(request)


class Batches(Echo):
    """Answers static batches of `batch`."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.slots, self.batched = int(self.number("batch") or 4), True

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        while batch := requests.take(self.slots):
            time.sleep(self.number("seconds"))
            yield from map(self.reply, batch)


class RemembersInBatches(Remembers, Batches):
    """The same, in static batches."""


class RemembersAndFails(Remembers):
    """Fails at the sample `fails` until the marker file `once` exists."""

    def reply(self, request: Request) -> Completion:
        marker = Path(str(self.args["once"]))
        if request.key.sample_id == str(self.args["fails"]) and not marker.exists():
            marker.touch()
            return Completion(request.key, failure=Failure("sample", "SampleError", "broken"))
        return super().reply(request)


class RemembersAtOnce(Remembers):
    """Two requests at a time, as backends for APIs do; answers d0-1 when it was asked d1-3."""

    slots = 2

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        from muster.models.api.traffic import Traffic

        self.asked = asyncio.Event()
        yield from Traffic(requests, lambda _more: contextlib.nullcontext(self)).answers()

    def places(self) -> int:
        return self.slots

    async def complete(self, request: Request) -> Completion:
        if request.key.sample_id == "d1-3":
            self.asked.set()
        if request.key.sample_id == "d0-1":
            await asyncio.wait_for(self.asked.wait(), 30)
        return self.reply(request)


class Waiting(Echo):
    """Begins to answer when the file `gate` exists."""

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        while not Path(str(self.args["gate"])).exists():
            time.sleep(0.02)
        yield from super().generate(requests)


class Poison(Echo):
    """Touching the sample `poison` kills the process, as a broken decoder would."""

    def touch(self, request: Request) -> None:
        super().touch(request)
        if request.key.sample_id == str(self.args["poison"]):
            os.kill(os.getpid(), signal.SIGKILL)


class Hangs(Echo):
    """Never comes back from the sample `hang`, the first time that any process touches it (`once`: a marker file)."""

    def touch(self, request: Request) -> None:
        super().touch(request)
        marker = Path(str(self.args["once"]))
        if request.key.sample_id == str(self.args["hang"]) and not marker.exists():
            marker.touch()
            if self.args.get("hard"):
                os.kill(os.getpid(), signal.SIGSTOP)
            threading.Event().wait()


class Freezes(Echo):
    """Rank 1 stands still for ever when it has nothing left to answer."""

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        yield from super().generate(requests)
        if os.environ.get("RANK") == "1":
            os.kill(os.getpid(), signal.SIGSTOP)


class BrokenRank(Echo):
    """Kills rank 1's process whenever it is loaded there."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        if os.environ.get("RANK") == "1":
            os.kill(os.getpid(), signal.SIGKILL)


class SlowRank(Echo):
    """Ten times slower in the first process that claims the marker file `slow`."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        try:
            Path(str(self.args["slow"])).touch(exist_ok=False)
            self.factor = 10
        except FileExistsError:
            self.factor = 1

    def touch(self, request: Request) -> None:
        time.sleep(self.factor * self.number("seconds"))


class Raises(Echo):
    """Raises at the sample `raises`: every time, or until the marker file `once` exists."""

    def touch(self, request: Request) -> None:
        if request.key.sample_id != str(self.args["raises"]):
            return
        if "once" in self.args:
            marker = Path(str(self.args["once"]))
            if marker.exists():
                return
            marker.touch()
        raise ReplicaError("the device is lost")


class Unloadable:
    """Can't be loaded."""

    def __init__(self, settings: ModelSettings) -> None:
        raise RuntimeError("the weights are broken")

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        yield from ()


class Forgetful(Echo):
    """Pulls everything and answers all but the sample `forgets`."""

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        for request in requests:
            if request.key.sample_id != str(self.args["forgets"]):
                yield self.reply(request)


class Spawns(Echo):
    """Starts a process of its own, as engines and decoders do, and never ends it."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        subprocess.Popen(["sleep", "600"])


class NumpyTokens(Echo):
    """Counts tokens as numpy does."""

    def reply(self, request: Request) -> Completion:
        import numpy as np

        usage = Usage(np.int64(3), np.int64(4))  # type: ignore[arg-type]
        seconds: float = np.float32(0.5)  # type: ignore[assignment]
        return Completion(request.key, f"answer {request.key.sample_id}", usage=usage, seconds=seconds)


class NoCompletion(Echo):
    """Yields something else."""

    def reply(self, request: Request) -> Completion:
        return Completion(request.key, 17)  # type: ignore[arg-type]


class BadFailure(Echo):
    """Fails with a message that no encoding can carry, as file names can be."""

    def reply(self, request: Request) -> Completion:
        return Completion(request.key, failure=Failure("sample", "OSError", "no file caf\udce9"))


class NoSlots(Echo):
    """Says that it works on nothing."""

    slots = 0


class Misconfigured(Unloadable):
    """Can't do what was asked."""

    def __init__(self, settings: ModelSettings) -> None:
        raise ConfigurationError("dtype=float3 is no dtype")


class Surrogates(Echo):
    """Answers with text that no encoding can carry."""

    def reply(self, request: Request) -> Completion:
        return Completion(request.key, "a\ud83d b\ud83d\ude00")


class PrefetchingRaises(Raises):
    """Static batches of four, one prepared ahead in a background thread; raises at the sample `raises`."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.slots, self.batched = 4, True

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        from muster.models.transformers.prefetch import OneAhead

        with OneAhead(lambda: requests.take(self.slots) or None, list[Request]) as batches:
            for batch in batches:
                time.sleep(self.number("seconds"))
                for request in batch:
                    self.touch(request)
                    yield self.reply(request)


class Picky(Echo):
    """Can't be loaded on the device `broken`, which is found out when the file `gate` exists."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        if settings.args.get("device") == "broken":
            while not Path(str(self.args["gate"])).exists():
                time.sleep(0.02)
            raise RuntimeError("this device is broken")


class Grades(Echo):
    """A judge without a server: every answer gets 0.5, in static batches of `batch` if given.

    `die_at`: the process ends at this question, once where there is a marker file `once`.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.slots, self.batched = int(self.number("batch") or 1), bool(self.args.get("batch"))
        self.asked = 0

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        if not self.batched:
            yield from super().generate(requests)
            return
        while batch := requests.take(self.slots):
            yield from map(self.reply, batch)

    def reply(self, request: Request) -> Completion:
        self.asked += 1
        marker = Path(str(self.args["once"])) if "once" in self.args else None
        if self.asked == self.number("die_at") and not (marker and marker.exists()):
            if marker:
                marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Completion(request.key, "0.5", usage=Usage(20, 1), finish_reason="stop")


class LastAtGate(Echo):
    """Answers `before` questions at once, and the others when the file `gate` exists."""

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        for number, request in enumerate(requests):
            while number >= self.number("before") and not Path(str(self.args["gate"])).exists():
                time.sleep(0.02)
            yield self.reply(request)
