"""What a model is asked when it is loaded: whether a batch can be trusted, and where its answers begin.

Guards against batches that change answers without a word, and against a trial that sees such a change everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from family_models import MORE_FAMILIES
from muster.core import ConfigurationError
from muster.models.protocol import ModelSettings
from muster.models.transformers import TransformersModel
from muster.models.transformers.placeholders import Layout, layout_of
from muster.models.transformers.trial import Trial, difference
from tiny_models import build_tokenizer, model_folder
from tiny_requests import answers, ask, noise, texts


def load(folder: Path, **args: str) -> TransformersModel:
    return TransformersModel(ModelSettings(str(folder), {"preparation": "thread", **args}, batch_size=4))


def test_the_wrong_side_is_noticed(tmp_path: Path) -> None:
    """An encoder that is padded on the left, as all were once."""
    MORE_FAMILIES["florence2"].build(tmp_path)
    model = load(tmp_path)
    assert model._loaded.processor.tokenizer.padding_side == "right"
    assert model.slots == 4
    for side, trusted in (("left", False), ("right", True)):
        model._loaded.processor.tokenizer.padding_side = side
        generator: Any = model._generator
        reason = Trial(model._preparer, generator, precise=True).batch()
        assert (reason is None) == trusted, side
        if reason is not None:
            assert "unequal length" in reason


def test_half_precision_is_no_reason(tmp_path_factory: pytest.TempPathFactory) -> None:
    for family in ("llava", "qwen2_5_vl"):
        model = load(model_folder(family, tmp_path_factory), dtype="bfloat16")
        assert model.slots == 4, family
        assert not model.batched, family


def test_the_same_answers_however_many_are_allowed(tmp_path: Path) -> None:
    """BLIP, whose prompts can't be padded: asked one by one, whatever the batch size."""
    MORE_FAMILIES["blip"].build(tmp_path)
    requests = [ask(f"{n}", "what " * (n % 3 + 1) + "?", [noise(n)]) for n in range(6)]
    model = load(tmp_path)
    alone: dict[str, str] = {}
    for request in requests:
        alone |= texts(answers(model, [request]))
    assert texts(answers(model, requests)) == alone


def test_output_without_the_prompt_is_refused_where_steps_cant_be_counted(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    model = load(model_folder("llava", tmp_path_factory))
    begin: Any = model._generator._answers_begin  # type: ignore[attr-defined]
    prompts = torch.tensor([[5, 6, 7]])
    assert begin(torch.tensor([[5, 6, 7, 8]]), prompts, 0) == 3
    assert begin(torch.tensor([[6, 7, 8, 9]]), prompts, 2) == 2
    with pytest.raises(ConfigurationError, match="decodes in its own way"):
        begin(torch.tensor([[6, 7, 8, 9]]), prompts, 0)


def test_scores_are_compared_while_the_same_tokens_are_chosen() -> None:
    first, second = torch.tensor([0.0, 4.0, 2.0]), torch.tensor([3.0, 0.0, 1.0])
    assert difference([first, second], [first, second]) == 0
    assert difference([first], [first, second]) == 0
    assert difference([first, first], [second, first]) > 1
    nearly = torch.tensor([0.0, 4.0, 4.1])
    assert difference([first, first], [nearly, 9 * first]) < 1, "what follows another token is another answer"
    assert difference([torch.tensor([1.0, float("-inf")])], [torch.tensor([1.0, float("-inf")])]) == 0


def test_a_processor_that_refuses_lists_gets_a_bare_image() -> None:
    from transformers import GotOcr2ImageProcessorPil, GotOcr2Processor

    tokenizer = build_tokenizer()
    tokenizer.add_tokens(["<imgpad>", "<|im_start|>", "<|im_end|>"], special_tokens=True)
    processor = GotOcr2Processor(GotOcr2ImageProcessorPil(size={"height": 16, "width": 16}), tokenizer)
    assert layout_of(processor) == Layout("<imgpad>", one_image_bare=True)
