"""A task file to start from: it runs as it is, and its comments say what can be changed."""

from __future__ import annotations

import json
import re
from pathlib import Path

from muster.core import ConfigurationError

_TASK = """\
# A benchmark of your own. `muster tasks check {name}.yaml` says whether it fits its data; the guide is docs/tasks.md.
name: {name}
# Raise it whenever scores stop being comparable with earlier ones.
version: 1
description: Which shape is it?
# Names under which --tasks finds this task together with others.
groups: []

source:
  # The samples, one JSON object per line. Also .json, .csv, .tsv, .parquet and .arrow; `tsv:` for VLMEvalKit's
  # files, `huggingface:` for a dataset of the hub, `folder:` for a folder of images.
  file: {name}.jsonl
  # How many samples there have to be; `check` complains about fewer.
  rows: 2
  # Which columns hold what, where they aren't called id, question, image, choices and answer:
  # fields:
  #   question: prompt
  #   choices: [option_a, option_b, option_c]
  #   answer: {{column: label, given_as: index}}
  # Keep only some rows:
  # where: {{level: [easy, hard]}}

prompt:
  # jinja2. There are question, choices, letters, choice_lines, metadata, image_count and video_count. Images come
  # before the text, or where the template says <image>.
  template: |
    {{{{ question }}}}
    {{{{ choice_lines }}}}
    Answer with the letter.
  # Other ways to ask, chosen with --prompt-variant; what a variant doesn't say is as above.
  variants:
    step_by_step:
      system: You think step by step.

# The task's defaults; options of `muster run` go before them.
generation: {{max_new_tokens: 8, temperature: 0}}

# docs/metrics.md lists the metrics and their variants.
metric: {{name: multiple_choice}}

# Metadata whose values get scores of their own.
by: [level]
"""
_SAMPLES = (
    {
        "id": "1",
        "question": "What is shown?",
        "image": "{name}_images/square.png",
        "choices": ["a square", "a circle"],
        "answer": "A",
        "metadata": {"level": "easy"},
    },
    {
        "id": "2",
        "question": "How many corners does it have?",
        "image": "{name}_images/circle.png",
        "choices": ["none", "three", "four"],
        "answer": "A",
        "metadata": {"level": "hard"},
    },
)


def write_starter(name: str, folder: Path) -> Path:
    """Write NAME.yaml, NAME.jsonl and two images into `folder`, and return the task file. `name` may end in `.yaml`.

    Raises:
        ConfigurationError: the name isn't one that a task may have, or one of the files is there already.
    """
    name = name.removesuffix(".yaml")
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ConfigurationError(
            f"{name!r} can't name a task: only small letters, digits and underscores can"
        )
    file, samples, images = folder / f"{name}.yaml", folder / f"{name}.jsonl", folder / f"{name}_images"
    for path in (file, samples, images):
        if path.exists():
            raise ConfigurationError(f"{path} is there already; it was left as it is")
    try:
        images.mkdir(parents=True)
        _draw(images)
        lines = (json.dumps({**row, "image": str(row["image"]).format(name=name)}) for row in _SAMPLES)
        samples.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        file.write_text(_TASK.format(name=name), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{folder} can't be written: {error.strerror or error}") from error
    return file


def _draw(folder: Path) -> None:
    from PIL import Image, ImageDraw

    for name in ("square", "circle"):
        image = Image.new("RGB", (96, 96), "white")
        pen = ImageDraw.Draw(image)
        outline = pen.rectangle if name == "square" else pen.ellipse
        outline((24, 24, 72, 72), fill="black")
        image.save(folder / f"{name}.png")
