"""The transformers backend for tests that disturb it: it waits at a gate until the test has seen enough."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from muster.core import Completion
from muster.models.protocol import ModelSettings, RequestStream
from muster.models.transformers import TransformersModel

BEFORE_THE_GATE = 4


class Gated(TransformersModel):
    """Answers a few requests, and the others when the file `gate` exists."""

    def __init__(self, settings: ModelSettings) -> None:
        args = dict(settings.args)
        self.gate = Path(str(args.pop("gate")))
        super().__init__(replace(settings, args=args))
        self.answered = 0

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        for completion in super().generate(requests):
            yield completion
            self.answered += 1
            while self.answered >= BEFORE_THE_GATE and not self.gate.exists():
                time.sleep(0.02)
