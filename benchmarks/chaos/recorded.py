"""A model of recorded answers: processes, time and answers are real, only the device is missing."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.chaos.calls import CallLog
from muster.core import Completion, Request, Usage
from muster.models.protocol import ModelSettings, RequestStream

SIGMA = 0.6
"""Of the log-normal times that recorded answers take."""


def die_of(poison: object, requests: list[Request]) -> None:
    """Kill this process if one of the requests is the poisonous one."""
    if any(request.key.sample_id == poison for request in requests):
        os.kill(os.getpid(), signal.SIGKILL)


class Recorded:
    """Takes as long as a model would, and answers what the demo model has answered. No torch.

    Model args: `answers`, a JSON file of texts by request; `seconds`, the median time of one answer; `slots`, how
    many it answers together (1: one by one); `calls`, a folder (see `calls.py`); `poison`, the id of a sample that
    kills its process, as a broken decoder would.
    """

    def __init__(self, settings: ModelSettings) -> None:
        """Read the recording."""
        args = settings.args
        self.answers: dict[str, str] = json.loads(Path(str(args["answers"])).read_text())
        self.calls = CallLog(Path(str(args["calls"])))
        self.poison = args.get("poison")
        self.seconds = float(str(args["seconds"]))
        self.slots = int(str(args["slots"]))
        self.batched = self.slots > 1

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        """See `Model`."""
        while batch := requests.take(self.slots) if self.batched else list(_next(requests)):
            die_of(self.poison, batch)
            self.calls.begins([request.key for request in batch])
            seconds = max(map(self.duration, batch))
            time.sleep(seconds)
            self.calls.ends()
            for request in batch:
                text = self.answers[str(request.key)]
                yield Completion(request.key, text, usage=Usage(10, 2), seconds=seconds, finish_reason="stop")

    def duration(self, request: Request) -> float:
        """The same for the same request, whoever answers it."""
        return self.seconds * random.Random(str(request.key)).lognormvariate(0, SIGMA)


def _next(requests: RequestStream) -> Iterator[Request]:
    for request in requests:
        yield request
        return
