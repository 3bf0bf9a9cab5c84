"""The openai backend with a stopwatch: `--backend benchmarks/api_measured.py:Measured`, model arg `marks` (a file)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from muster.core import JSON, Completion
from muster.models.openai import OpenAIModel
from muster.models.protocol import ModelSettings, RequestStream


class Measured(OpenAIModel):
    """Writes seconds, and CPU seconds of the whole process, from the first request to the last answer."""

    def __init__(self, settings: ModelSettings) -> None:
        """Keep the name of the file."""
        args = dict(settings.args)
        self.marks = Path(str(args.pop("marks")))
        super().__init__(replace(settings, args=args))

    @classmethod
    def identity(cls, args: Mapping[str, JSON]) -> Mapping[str, JSON]:
        """Of the arguments that are the backend's own."""
        return super().identity({name: value for name, value in args.items() if name != "marks"})

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        """See `Model`."""
        began, cpu = time.monotonic(), time.process_time()
        yield from super().generate(requests)
        measured = {"seconds": time.monotonic() - began, "cpu": time.process_time() - cpu}
        if not self.marks.exists():  # it may be called again, for nothing
            self.marks.write_text(json.dumps(measured))
