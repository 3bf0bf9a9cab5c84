"""Real architectures through the backend: what a model says must not depend on the batch it was asked in.

Guards against the classic batching bugs: padding on the wrong side or left out of the attention mask, positions
counted from the padding, images assigned to the wrong row, an image's tiles counted by the batch's largest.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from muster.core import Request
from muster.models.protocol import ModelSettings
from muster.models.transformers import TransformersModel
from tiny_models import FAMILIES, model_folder
from tiny_requests import answers, ask, noise, texts


class Tiny(NamedTuple):
    """One family's model, asked in three ways."""

    family: str
    one_by_one: TransformersModel
    in_batches: TransformersModel
    continuous: TransformersModel
    """Which takes two at a time: rows join others that are in the middle of their answers."""


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = str(model_folder(request.param, tmp_path_factory))
    return Tiny(
        request.param,
        TransformersModel(ModelSettings(folder, {"batching": "static"}, batch_size=1)),
        TransformersModel(ModelSettings(folder, {"batching": "static"}, batch_size=5)),
        TransformersModel(ModelSettings(folder, {"batching": "continuous"}, batch_size=8)),
    )


def single_image_requests() -> list[Request]:
    """Prompts of 1 to 60 characters and images of several shapes."""
    shapes = [(16, 16), (40, 20), (20, 40), (33, 33), (16, 64), (64, 64)]
    return [
        ask(
            f"{index}",
            "what is shown here " * (index % 4) + "?",
            [noise(index, *shapes[index % len(shapes)])],
        )
        for index in range(12)
    ]


def test_batched_answers_equal_unbatched_ones(tiny: Tiny) -> None:
    requests = single_image_requests()
    alone = texts(answers(tiny.one_by_one, requests))
    assert texts(answers(tiny.in_batches, requests)) == alone
    assert texts(answers(tiny.continuous, requests)) == alone
    assert len(set(alone.values())) > 6, "a model that always says the same shows nothing"


def test_several_images_in_one_question(tiny: Tiny) -> None:
    if not FAMILIES[tiny.family].several_images:
        pytest.skip("one image per question")
    requests = [
        ask("two", "compare these", [noise(1), noise(2, 40, 20)]),
        ask("one", "what is it?", [noise(3, 20, 40)]),
        ask("three", "order them", [noise(4), noise(5), noise(6, 33, 33)]),
        ask("two swapped", "compare these", [noise(2, 40, 20), noise(1)]),
    ]
    alone = texts(answers(tiny.one_by_one, requests))
    assert texts(answers(tiny.in_batches, requests)) == alone
    assert texts(answers(tiny.continuous, requests)) == alone
    assert alone["two"] != alone["two swapped"], "the order of images must reach the model"


def test_questions_without_an_image_beside_those_with_one(tiny: Tiny) -> None:
    requests = [
        ask("seen", "what?", [noise(1)]),
        ask("blind", "what is left of it?"),
        ask("seen too", "x", [noise(2)]),
    ]
    for model in (tiny.in_batches, tiny.continuous):
        together = answers(model, requests)
        if FAMILIES[tiny.family].text_only:
            assert texts(together) == texts(answers(tiny.one_by_one, requests))
        else:
            failure = together.pop("blind").failure
            assert failure is not None
            assert failure.kind == "sample"
            assert len(texts(together)) == 2


def test_the_image_and_the_system_message_reach_the_model(tiny: Tiny) -> None:
    said = texts(
        answers(
            tiny.in_batches,
            [
                ask("plain", "what?", [noise(1)]),
                ask("other image", "what?", [noise(2)]),
                ask("system", "what?", [noise(1)], system="Answer in one word."),
            ],
        )
    )
    assert said["plain"] != said["other image"]
    assert said["plain"] != said["system"]


def test_usage_counts_tokens_of_prompt_image_and_answer(tiny: Tiny) -> None:
    counted = answers(tiny.continuous, [ask("0", "x", [noise(1)]), ask("1", "x" * 41, [noise(1)])])
    short, long = counted["0"], counted["1"]
    assert short.usage.prompt_tokens is not None
    assert long.usage.prompt_tokens is not None
    assert long.usage.prompt_tokens - short.usage.prompt_tokens == 40  # a character is a token here
    for completion in (short, long):
        assert completion.usage.completion_tokens is not None
        assert 1 <= completion.usage.completion_tokens <= 12
        assert completion.finish_reason == ("length" if completion.usage.completion_tokens == 12 else "stop")
        assert completion.seconds is not None
        assert completion.seconds > 0
