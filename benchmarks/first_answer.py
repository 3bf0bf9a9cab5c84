"""What happens until a model's first answer, and when; two programs that `benchmarks.start` runs.

`python -m benchmarks.first_answer FILE`: a plain script that asks the demo model one question, the floor.
`muster run --backend benchmarks.first_answer:Watched --model-args marks=FILE`: Muster's own way.
Both write the Unix times of what they have done into FILE.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

if TYPE_CHECKING:
    from muster.core import JSON, Completion
    from muster.models.protocol import Model, ModelSettings, RequestStream

STEPS = (
    "interpreter and Muster's plan",
    "import torch",
    "import transformers",
    "processor",
    "weights",
    "first batch",
)


class Marks:
    """Times after each of `STEPS`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._times: list[float] = []

    def step(self) -> None:
        """The next step is done."""
        self._times.append(time.time())
        if len(self._times) == len(STEPS):
            self._file.write_text(json.dumps(self._times))


class Watched:
    """The transformers backend, loaded part by part."""

    def __init__(self, settings: ModelSettings) -> None:
        """Load the model."""
        self._marks = Marks(Path(str(settings.args["marks"])))
        self._marks.step()
        import torch  # noqa: F401

        self._marks.step()
        from transformers import AutoModelForImageTextToText, AutoProcessor  # noqa: F401

        from muster.models.transformers import loading
        from muster.models.transformers.backend import TransformersModel
        from muster.models.transformers.processor import load_processor

        self._marks.step()
        with patch.object(loading, "load_processor", self._watched(load_processor)):
            self._model: Model = TransformersModel(replace(settings, args=_without_marks(settings.args)))
        self._marks.step()

    def _watched(self, load: Callable[..., object]) -> Callable[..., object]:
        def loaded(*args: object, **options: object) -> object:
            result = load(*args, **options)
            self._marks.step()
            return result

        return loaded

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        """See `Model`."""
        first = True
        for completion in self._model.generate(requests):
            if first:
                self._marks.step()
                first = False
            yield completion


def _without_marks(args: Mapping[str, JSON]) -> dict[str, JSON]:
    return {name: value for name, value in args.items() if name != "marks"}


def main(file: Path) -> None:
    """The plain script. It gets the question's text and image from a file, as scripts do."""
    marks = Marks(file)
    marks.step()
    import torch

    marks.step()
    from transformers import AutoModelForImageTextToText, AutoProcessor

    marks.step()
    folder, image, question = json.loads(file.with_suffix(".question").read_text())
    processor = AutoProcessor.from_pretrained(folder)
    marks.step()
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    marks.step()
    from PIL import Image

    content = [{"type": "image"}, {"type": "text", "text": question}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(text=[prompt], images=[[Image.open(image).convert("RGB")]], return_tensors="pt")
    with torch.inference_mode():
        tokens = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    processor.tokenizer.decode(tokens[0])
    marks.step()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
