"""The transformers backend, which notes when its parts are loaded and when it first answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from benchmarks.first_answer import Marks
from muster.core import Completion
from muster.models.protocol import ModelSettings, RequestStream
from muster.models.transformers.backend import TransformersModel
from muster.models.transformers.imports import import_transformers
from muster.models.transformers.options import Options


class Watched(TransformersModel):
    """Takes the model arg `marks`: the file for the times of `first_answer.STEPS`."""

    def __init__(self, settings: ModelSettings) -> None:
        """Load the model."""
        self._marks = Marks(Path(str(settings.args["marks"])))
        rest = {name: value for name, value in settings.args.items() if name != "marks"}
        super().__init__(replace(settings, args=rest))
        self._marks.step()

    def _load(self, folder: Path, options: Options, settings: ModelSettings) -> None:
        self._marks.step()
        import torch  # noqa: F401

        self._marks.step()
        import_transformers()
        from muster.models.transformers import loading
        from muster.models.transformers.processor import load_processor

        self._marks.step()
        with patch.object(loading, "load_processor", self._noted(load_processor)):
            super()._load(folder, options, settings)

    def _noted(self, load: Callable[..., object]) -> Callable[..., object]:
        def noted(*args: object, **options: object) -> object:
            loaded = load(*args, **options)
            self._marks.step()
            return loaded

        return noted

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        """See `Model`."""
        first = True
        for completion in super().generate(requests):
            if first:
                self._marks.step()
                first = False
            yield completion
