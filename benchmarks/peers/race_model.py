"""The race's model whose kernels take the time: Qwen2.5-VL's architecture, small, and answers of a known length.

Its layers have random weights and compute all that such layers do, but add nothing to the residual stream (their output
projections are zero). So the next token depends on the last one alone, and the output matrix makes of each number the
one before it: asked "… n0042" it answers "n0041 n0040 … n0000" and ends. Whoever asks, in whatever batch, gets the same
answer from the same number of steps, and nobody knows the length beforehand.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch

from benchmarks.random_models import SIZES, Size, build
from muster.models.transformers.processor import without_video

LONGEST = 256
"""Tokens of an answer, its end token not counted."""
SHORTEST = 8
MEAN = 48.0
SMALL = SIZES["qwen2_5_vl", "small"]._replace(
    hidden=256, intermediate=688, heads=4, key_value_heads=2, vocabulary=4096
)
"""9 million parameters. Of a step's operators matrix products take half for one row, three quarters for sixteen, which
takes twice as long: on a core, a wider model would be what a GPU is with full batches only."""
TINY = SIZES["qwen2_5_vl", "tiny"]
_TEMPLATE = (
    "{% for message in messages if message['role'] != 'system' %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
)


def number(count: int) -> str:
    """What a question ends with whose answer has `count` tokens."""
    return f" n{count:04}"


def answer(count: int) -> str:
    """The answer to it."""
    return "".join(number(each) for each in reversed(range(count))).strip()


def lengths(count: int, longest: int = LONGEST) -> list[int]:
    """Of `count` answers: many short, few long (exponential), with a fixed seed."""
    drawn = random.Random(0)
    return [min(longest, max(SHORTEST, round(drawn.expovariate(1 / MEAN)))) for _ in range(count)]


def write_model(folder: Path, size: Size = SMALL) -> None:
    """Write it, unless it is there."""
    if (folder / "done").exists():
        return
    from transformers import AutoModelForImageTextToText, Qwen2_5_VLProcessor

    build(folder, "qwen2_5_vl", size._replace(vocabulary=max(1024, size.vocabulary)), "float32", "cpu")
    processor = without_video(Qwen2_5_VLProcessor).from_pretrained(folder)
    tokenizer = processor.tokenizer
    tokenizer.add_tokens([number(each) for each in range(LONGEST + 1)])
    processor.chat_template = _TEMPLATE
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype="float32")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "language_model" in name and name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.zero_()
        known = model.get_input_embeddings().weight
        head = model.get_output_embeddings().weight
        head.zero_()
        ids = tokenizer.convert_tokens_to_ids([number(each) for each in range(LONGEST + 1)])
        for now, after in zip(ids, [tokenizer.eos_token_id, *ids], strict=False):
            head[after] = known[now]
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    images = json.loads((folder / "processor_config.json").read_text())["image_processor"]
    del images["image_processor_type"]
    (folder / "video_preprocessor_config.json").write_text(
        json.dumps({**images, "video_processor_type": "Qwen2VLVideoProcessor"})
    )
    (folder / "done").touch()
