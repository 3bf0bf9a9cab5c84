"""How answers end, and that sampling is as repeatable as greedy decoding."""

from __future__ import annotations

import dataclasses

import pytest

from muster.core import Generation, Request
from muster.models.protocol import ModelSettings
from muster.models.transformers import TransformersModel
from tiny_models import model_folder
from tiny_requests import answers, ask, noise, texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(model_folder("llava", tmp_path_factory))


@pytest.fixture(scope="module")
def model(folder: str) -> TransformersModel:
    return TransformersModel(ModelSettings(folder, batch_size=4))


@pytest.fixture(scope="module")
def single(folder: str) -> TransformersModel:
    return TransformersModel(ModelSettings(folder, batch_size=1))


def questions(generation: Generation, count: int = 8) -> list[Request]:
    return [ask(f"{index}", "why " * (index + 1), [noise(index)], generation) for index in range(count)]


def test_an_answer_ends_before_its_stop_string_and_generation_stops_there(model: TransformersModel) -> None:
    """A harness that only trims afterwards still pays for every token up to the limit."""
    free = answers(model, questions(Generation(max_new_tokens=24)))
    said = free["3"].text
    assert said is not None
    stop = said[4:6]
    ended = answers(model, questions(Generation(max_new_tokens=24, stop=("\0never", stop))))
    for name, completion in ended.items():
        before, found, _ = (free[name].text or "").partition(stop)
        assert completion.text == before
        if found:
            assert completion.finish_reason == "stop"
            assert completion.usage.completion_tokens is not None
            assert completion.usage.completion_tokens < 24
    assert ended["3"].text == said[: said.index(stop)]


def test_a_row_that_stopped_does_not_end_the_others(
    model: TransformersModel, single: TransformersModel
) -> None:
    free = texts(answers(model, questions(Generation(max_new_tokens=24))))
    stops = tuple(text[3] for text in list(free.values())[:2])
    generation = Generation(max_new_tokens=24, stop=stops)
    batched = answers(model, questions(generation))
    alone = answers(single, questions(generation))
    assert texts(batched) == texts(alone)
    assert {name: c.usage for name, c in batched.items()} == {name: c.usage for name, c in alone.items()}
    assert len({c.usage.completion_tokens for c in batched.values()}) > 2


def test_a_stop_string_over_several_tokens_is_found(model: TransformersModel) -> None:
    said = texts(answers(model, questions(Generation(max_new_tokens=24))))["0"]
    stop = said[2:9]  # seven one-character tokens
    completion = answers(model, questions(Generation(max_new_tokens=24, stop=(stop,))))["0"]
    assert completion.text == said[:2]
    assert completion.finish_reason == "stop"


def test_the_token_limit_is_kept_and_told(model: TransformersModel) -> None:
    for completion in answers(model, questions(Generation(max_new_tokens=3))).values():
        assert completion.usage.completion_tokens is not None
        assert completion.usage.completion_tokens <= 3
        assert completion.finish_reason == ("length" if completion.usage.completion_tokens == 3 else "stop")


def test_requests_with_other_settings_get_their_own(model: TransformersModel) -> None:
    """One claim shares its settings by contract; a stream that breaks that must not change answers."""
    short, long = Generation(max_new_tokens=2), Generation(max_new_tokens=9)
    mixed = answers(model, [ask("short", "x", [noise(1)], short), ask("long", "x", [noise(1)], long)])
    assert mixed["short"].usage.completion_tokens == 2
    assert mixed["long"].usage.completion_tokens == 9


def test_a_sampled_answer_does_not_depend_on_its_batch(
    model: TransformersModel, single: TransformersModel
) -> None:
    """One generator per batch would give a request other draws in another batch, so no score could be repeated."""
    generation = Generation(max_new_tokens=16, temperature=1.0, top_p=0.95, seed=7)
    requests = questions(generation)
    batched = texts(answers(model, requests))
    assert texts(answers(model, requests[::-1])) == batched
    assert texts(answers(single, requests)) == batched


def test_repeats_and_seeds_draw_anew(model: TransformersModel) -> None:
    request = ask("0", "x", [noise(1)], Generation(max_new_tokens=16, temperature=1.5))
    again = dataclasses.replace(request, key=request.key._replace(repeat=1))
    reseeded = dataclasses.replace(request, generation=Generation(max_new_tokens=16, temperature=1.5, seed=1))
    said = {texts(answers(model, [asked]))["0"] for asked in (request, again, reseeded)}
    assert len(said) == 3


def test_sampling_from_one_candidate_is_greedy(model: TransformersModel) -> None:
    greedy = texts(answers(model, questions(Generation(max_new_tokens=12))))
    for narrow in (Generation(12, temperature=3.0, top_k=1), Generation(12, temperature=3.0, top_p=1e-6)):
        assert texts(answers(model, questions(narrow))) == greedy


def test_answers_stop_at_the_end_of_the_models_context(folder: str) -> None:
    """Beyond it positions are undefined; each row has its own room there, however long its neighbours are."""
    model = TransformersModel(ModelSettings(folder, batch_size=2))
    near_the_end = Generation(max_new_tokens=400)
    requests = [
        ask("long", "x" * 900, [noise(1)], near_the_end),
        ask("short", "x" * 700, [noise(2)], near_the_end),
    ]
    for completion in answers(model, requests).values():
        assert completion.usage.prompt_tokens is not None
        assert completion.usage.completion_tokens is not None
        used = completion.usage.prompt_tokens + completion.usage.completion_tokens
        assert used == 1024 if completion.finish_reason == "length" else used <= 1024
