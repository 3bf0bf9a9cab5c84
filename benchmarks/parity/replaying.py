"""A backend that gives recorded answers: what both sides of the comparison are fed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

from muster.core import Completion
from muster.models.protocol import ModelKind, ModelSettings, RequestStream


class Replaying:
    """Answers `TOOLKIT:TASK` and a document's id from a file of `{task: {id: text}}`."""

    models: ModelKind = "any"
    uses_gpus = False

    def __init__(self, settings: ModelSettings) -> None:
        self._answers = json.loads(Path(str(settings.args["answers"])).read_text(encoding="utf-8"))
        self._pause = float(str(settings.args.get("pause", 0)))
        self.slots = 4

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        """The recorded text of each request, after a pause."""
        for request in requests:
            time.sleep(self._pause)
            task = request.key.task.partition(":")[2]
            yield Completion(request.key, text=self._answers[task][request.key.sample_id])
