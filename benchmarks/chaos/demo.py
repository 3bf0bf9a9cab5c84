"""The demo model as it is, but that it notes its calls, and dies of the poisonous sample, as `recorded.py` does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.chaos.calls import CallLog
from benchmarks.chaos.recorded import die_of
from muster.core import Completion, Failure
from muster.models.protocol import ModelSettings
from muster.models.transformers.backend import TransformersModel
from muster.models.transformers.preparation import Batch


class Demo(TransformersModel):
    """Takes the model args `calls` and `poison`, and those of the transformers backend."""

    def __init__(self, settings: ModelSettings) -> None:
        """Load the model."""
        args = dict(settings.args)
        self._calls, self._poison = CallLog(Path(str(args.pop("calls")))), args.pop("poison", None)
        super().__init__(replace(settings, args=args))

    def _run(self, batch: Batch) -> list[Completion] | Failure:
        requests = [row.request for row in batch.rows]
        die_of(self._poison, requests)
        self._calls.begins([request.key for request in requests])
        answers = super()._run(batch)
        self._calls.ends()
        return answers
