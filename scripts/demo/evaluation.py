"""How well a model folder does on the benchmark: the tasks' own samples and prompts, answered by plain transformers.

Training prints these numbers, and the tests hold the shipped model to them.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from muster.core import Message, Sample
from muster.tasks.registry import load_tasks
from scripts.demo.conversations import Message as ChatMessage


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a task, with what the model is asked."""

    task: str
    sample: Sample
    messages: tuple[Message, ...]


def read_items() -> list[Item]:
    """Every question of the group `digits`, task by task."""
    return [
        Item(task.name, sample, task.prompt.render(sample))
        for task in load_tasks(["digits"])
        for sample in task.source.load()
    ]


def answer_items(folder: Path, items: Sequence[Item], batch_size: int = 32) -> Iterator[str]:
    """The model's greedy answers in float32, in the order of `items`."""
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    for start in range(0, len(items), batch_size):
        batch = items[start : start + batch_size]
        prompts = processor.apply_chat_template(
            [_conversation(item.messages) for item in batch], add_generation_prompt=True
        )
        images = [
            [Image.open(io.BytesIO(image.data or b"")) for image in item.sample.images] for item in batch
        ]
        inputs = processor(text=prompts, images=images, padding=True, return_tensors="pt")
        with torch.inference_mode():
            tokens = model.generate(**inputs, max_new_tokens=8, do_sample=False)
        asked = inputs["input_ids"].shape[1]
        yield from processor.batch_decode(tokens[:, asked:], skip_special_tokens=True)


def accuracies(items: Sequence[Item], answers: Sequence[str]) -> dict[str, float]:
    """The share of answers that are exactly right, by task and by `task/category`."""
    right: dict[str, list[bool]] = defaultdict(list)
    for item, given in zip(items, answers, strict=True):
        for group in (item.task, f"{item.task}/{item.sample.metadata['category']}"):
            right[group].append(given == item.sample.answer)
    return {group: sum(marks) / len(marks) for group, marks in sorted(right.items())}


def _conversation(messages: Sequence[Message]) -> list[ChatMessage]:
    """The messages as chat templates take them."""
    return [
        {
            "role": message.role,
            "content": [
                {"type": "image"} if part.media else {"type": "text", "text": part.text or ""}
                for part in message.parts
            ],
        }
        for message in messages
    ]
