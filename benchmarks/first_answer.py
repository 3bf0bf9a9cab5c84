"""A plain script that asks a model one question: the floor of `benchmarks.start`.

`python -m benchmarks.first_answer FILE` writes the Unix times of its steps into FILE, and the process's CPU seconds,
and reads the question from a file beside it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

STEPS = (
    "interpreter and Muster's plan",
    "import torch",
    "import transformers",
    "processor",
    "weights",
    "first batch",
)


class Marks:
    """Times after each of `STEPS`, by the clock and of this process's processors."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._times: list[tuple[float, float]] = []

    def step(self) -> None:
        """The next step is done."""
        self._times.append((time.time(), time.process_time()))
        if len(self._times) == len(STEPS):
            self._file.write_text(json.dumps(self._times))


def main(file: Path) -> None:
    """The plain script. It gets the question's text and image from a file, as scripts do."""
    marks = Marks(file)
    marks.step()
    import torch

    marks.step()
    from transformers import AutoModelForImageTextToText, AutoProcessor

    marks.step()
    folder, device, dtype, image, question = json.loads(file.with_suffix(".question").read_text())
    processor = AutoProcessor.from_pretrained(folder)
    marks.step()
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=getattr(torch, dtype))
    model = model.eval().to(device)
    marks.step()
    from PIL import Image

    content = [{"type": "image"}, {"type": "text", "text": question}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(text=[prompt], images=[[Image.open(image).convert("RGB")]], return_tensors="pt").to(
        device
    )
    with torch.inference_mode():
        tokens = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    processor.tokenizer.decode(tokens[0])
    marks.step()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
