"""Every family of `AutoModelForImageTextToText` that can be built here, asked as transformers documents it.

Guards against prompts that aren't the model's: a placeholder too many or too few, special tokens twice, padding on the
side that an architecture doesn't read, an answer that begins in the prompt. The reference is the call that transformers
documents, `apply_chat_template` or the processor with a text and an image, one prompt at a time.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image

from family_models import MORE_FAMILIES
from muster.core import Completion, Generation, Media, Request
from muster.models.protocol import ModelSettings
from muster.models.transformers import TransformersModel, internals
from muster.models.transformers.backend import Answering
from muster.models.transformers.batch_size import BatchSize
from muster.models.transformers.generation import Generator
from muster.models.transformers.memory import watch_memory
from muster.models.transformers.placeholders import image_token
from muster.models.transformers.tokens_as_text import can_encode
from tiny_requests import answers, ask, noise, texts

QUESTIONS = (
    "what is shown?",
    "what is shown here, and why do you think so?",
    "name it now",
    "colours of it all?",
)
ONE_BY_ONE = frozenset({"blip", "kosmos-2"})
"""Families whose batches of unequal prompts can't be right, whatever side is padded."""
COUNTS_PLACEHOLDERS = frozenset({"idefics2", "internvl", "janus"})
"""Families whose processors count placeholders in their own way, marked or not."""
NEVER_AS_TEXT = frozenset({"idefics3", "kosmos-2", "mllama", "paligemma"})
"""Families whose processors want of the tokens what transformers has of no marked text: characters, types."""
CONTINUOUS = {
    *(
        "aria",
        "chameleon",
        "deepseek_vl",
        "deepseek_vl_hybrid",
        "glm4v",
        "glm4v_moe",
        "glm46v",
        "idefics2",
        "idefics3",
    ),
    *("internvl", "lighton_ocr", "llava", "llava_next", "llava_onevision", "ovis2", "paligemma", "qwen2_vl"),
    *("qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "vipllava"),
}
ALWAYS_THE_SAME = frozenset({"qwen3_5"})
OLDEST = version("transformers").startswith(f"{internals.OLDEST}.")
"""Whether this is the oldest transformers that is allowed. What is otherwise with it:"""
NOT_WITH_OLDEST: Mapping[str, type[Exception]] = {
    "hyperclovax_vision_v2": AttributeError,  # isn't there
    **dict.fromkeys(("idefics2", "idefics3", "ovis2"), ImportError),  # want torchvision
}
if OLDEST:
    ONE_BY_ONE |= {"git"}
    CONTINUOUS -= {"llava_onevision"}
NAMES_AN_IMAGE = ("chameleon",)
"""Families without a chat template whose processors want a placeholder in the text."""


class Documented(NamedTuple):
    """What transformers' documented call gives."""

    ids: list[int]
    answer: str


def photo(number: int) -> Media:
    return noise(number, 32, 24)


def requests() -> list[Request]:
    return [
        ask(f"{number}", question, [photo(number)], Generation(max_new_tokens=6))
        for number, question in enumerate(QUESTIONS)
    ]


def documented(processor: Any, model: Any, question: str, media: Media, family: str) -> Documented:
    assert media.data is not None
    image = Image.open(io.BytesIO(media.data)).convert("RGB")
    if processor.chat_template or processor.tokenizer.chat_template:
        content = [{"type": "image", "image": image}, {"type": "text", "text": question}]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        )  # fmt: skip
    else:
        text = processor.image_token + question if family in NAMES_AN_IMAGE else question
        inputs = processor(text=text, images=image, return_tensors="pt")
    inputs.pop("labels", None)
    ids = inputs["input_ids"][0].tolist()
    with torch.inference_mode():
        output = model.generate(
            **inputs, max_new_tokens=6, do_sample=False, return_dict_in_generate=True, output_scores=True
        )
    made = output.sequences[0, -len(output.scores) :]
    return Documented(ids, processor.tokenizer.decode(made.tolist(), skip_special_tokens=True))


def static(model: TransformersModel) -> TransformersModel:
    """The same loaded model, with static batches as large as it may have."""
    generator: Answering = Generator(model._loaded, model._loaded.processor.tokenizer)
    return TransformersModel.of_loaded(
        model._loaded, generator, watch_memory(model._loaded.devices), BatchSize(model.slots, model.slots)
    )


@pytest.mark.parametrize("family", sorted(MORE_FAMILIES))
def test_prompts_and_answers_are_those_of_the_documented_call(family: str, tmp_path: Path) -> None:
    if OLDEST and family in NOT_WITH_OLDEST:
        with pytest.raises(NOT_WITH_OLDEST[family]):
            MORE_FAMILIES[family].build(tmp_path)
        return
    MORE_FAMILIES[family].build(tmp_path)
    settings = ModelSettings(str(tmp_path), {"preparation": "thread"}, batch_size=4)
    model = TransformersModel(settings)
    processor = model._loaded.processor
    expected = {
        f"{number}": documented(processor, model._loaded.model, question, photo(number), family)
        for number, question in enumerate(QUESTIONS)
    }
    for request in requests():
        (batch,) = model._preparer.prepare([request]).batches
        assert batch.inputs["input_ids"][0].tolist() == expected[request.key.sample_id].ids
        assert batch.prompt_tokens == (len(expected[request.key.sample_id].ids),)
    said = {name: each.answer for name, each in expected.items()}
    alone: dict[str, Completion] = {}
    for request in requests():
        alone |= answers(model, [request])
    assert texts(alone) == said
    assert texts(answers(model, requests())) == said
    assert texts(answers(static(model), requests())) == said
    assert len(set(said.values())) > 1 or family in ALWAYS_THE_SAME, (
        "a model that always says the same shows nothing"
    )
    assert (model.slots == 1) == (family in ONE_BY_ONE)
    assert model.batched != (family in CONTINUOUS)
    check_special_tokens(model, family)


def check_special_tokens(model: TransformersModel, family: str) -> None:
    """A placeholder and an end token in a question's own words are text, as transformers' `sanitize_control_tokens`
    has it, or fail their sample alone; what the task's template says is meant.
    """
    processor = model._loaded.processor
    placeholder = image_token(processor) or "<image>"
    for token in (placeholder, "</s>"):
        question = f"what does {token} do?"
        asked = ask("special", question, [photo(0)], Generation(max_new_tokens=3))
        prepared = model._preparer.prepare([asked, requests()[1]])
        assert len(prepared.batches) == 2 - len(prepared.failures), "the other sample is asked"
        if (
            not can_encode()
            or family in NEVER_AS_TEXT
            or (family in COUNTS_PLACEHOLDERS and token == placeholder)
        ):
            (failure,) = prepared.failures
            assert failure.failure is not None
            assert failure.failure.kind == "sample"
            assert token in failure.failure.message
            continue
        assert not prepared.failures, prepared.failures
        (ids,) = next(b for b in prepared.batches if b.rows[0].request is asked).inputs["input_ids"].tolist()
        if processor.chat_template:
            assert ids == sanitized(processor, question, photo(0))
        (usual,) = model._preparer.prepare([ask("usual", "what?", [photo(0)])]).batches
        number = processor.tokenizer.convert_tokens_to_ids(token)
        assert ids.count(number) == usual.inputs["input_ids"][0].tolist().count(number)


def sanitized(processor: Any, question: str, media: Media) -> list[int]:
    assert media.data is not None
    image = Image.open(io.BytesIO(media.data)).convert("RGB")
    content = [{"type": "image", "image": image}, {"type": "text", "text": question}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt", sanitize_control_tokens=True,
    )  # fmt: skip
    ids: list[int] = inputs["input_ids"][0].tolist()
    return ids
