"""The questions of the parts: pictures of noise of random shapes, several questions about each."""

from __future__ import annotations

import random
from pathlib import Path

from benchmarks.runs import write_benchmark


def write_questions(folder: Path, images: int, each: int, sides: tuple[int, int]) -> Path:
    """A task of `images` × `each` questions in a new folder; sides in pixels. The path of its file."""
    from PIL import Image

    folder.mkdir(parents=True)
    draw = random.Random(1)
    rows: list[dict[str, object]] = []
    for image in range(images):
        shape = (draw.randint(*sides), draw.randint(*sides))
        Image.effect_noise(shape, 90).convert("RGB").save(folder / f"{image}.jpg", quality=80)
        for number in range(each):
            text = (
                f"Question {number} of {each}: "
                + "what is shown in this picture, and why? " * draw.randint(1, 4)
            )
            rows.append(
                {"id": f"q{image}-{number}", "question": text, "images": [f"{image}.jpg"], "answer": "x"}
            )
    return write_benchmark(folder, rows)
