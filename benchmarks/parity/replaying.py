"""A backend that gives recorded answers: what both sides of the comparison are fed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from muster.core import Completion
from muster.models.protocol import ModelKind, ModelSettings, RequestStream


class Replaying:
    """Answers `TOOLKIT:TASK` and a document's id from a file of `{task: {id: text}}`.

    Of a document in rounds (`ID:NUMBER`) the file has a list.
    """

    models: ModelKind = "any"
    uses_gpus = False
    likelihoods = True

    def __init__(self, settings: ModelSettings) -> None:
        self._answers = json.loads(Path(str(settings.args["answers"])).read_text(encoding="utf-8"))
        self._pause = float(str(settings.args.get("pause", 0)))
        self.slots = 4

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        """The recorded text of each request, after a pause."""
        for request in requests:
            time.sleep(self._pause)
            task = request.key.task.partition(":")[2]
            yield Completion(request.key, text=self._text(self._answers[task], request.key.sample_id))

    @staticmethod
    def _text(said: dict[str, Any], name: str) -> str:
        if name in said:
            return str(said[name])
        document, _colon, number = name.rpartition(":")
        return str(said[document][int(number) - 1])
