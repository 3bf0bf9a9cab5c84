"""A backend for tests with Ray, whose clusters change while a run goes on: it waits until the test has seen enough."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from muster.core import Completion, Request
from muster.models.protocol import ModelSettings, RequestStream

log = logging.getLogger(__name__)


class Paced:
    """Answers with the sample's id: a tenth of a second for each until the file `hurry` exists."""

    def __init__(self, settings: ModelSettings) -> None:
        log.info("GPUs: %s.", os.environ.get("CUDA_VISIBLE_DEVICES"))
        self.hurry = Path(str(settings.args["hurry"]))

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        yield from map(self.reply, requests)

    def reply(self, request: Request) -> Completion:
        if not self.hurry.exists():
            time.sleep(0.1)
        return Completion(request.key, f"answer {request.key.sample_id}", finish_reason="stop")
