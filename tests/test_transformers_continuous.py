"""Continuous batching: rows that join others in the middle of their answers say what they would say alone.

Guards against the bugs of such a loop: a row that reads what the slot's previous row has left there, positions that go
on from another row's, keys that lie one column off, a repetition penalty for another row's words, rows lost or
answered twice when memory runs out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache, MistralConfig

from muster.core import ConfigurationError, Generation, ReplicaError, Request
from muster.models.protocol import ModelSettings
from muster.models.transformers import TransformersModel
from muster.models.transformers.batch_size import BatchSize, claim_size
from muster.models.transformers.prefetch import OneAhead
from muster.models.transformers.row_cache import SlotCache, SlotLayer
from muster.models.transformers.running import RunningRows
from tiny_models import build_llava, model_folder
from tiny_requests import ListStream, answers, ask, noise, texts

SHAPES = [(16, 16), (40, 20), (20, 40), (33, 33)]


def load(folder: str, batching: str, batch_size: int = 8, **args: str | float) -> TransformersModel:
    return TransformersModel(
        ModelSettings(folder, {"batching": batching, "preparation": "thread", **args}, batch_size=batch_size)
    )


@pytest.fixture(scope="module", params=["llava", "qwen2_5_vl"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(model_folder(request.param, tmp_path_factory))


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(model_folder("llava", tmp_path_factory))


@pytest.fixture
def model(llava: str) -> TransformersModel:
    return load(llava, "continuous")


def questions(count: int, **generation: float) -> list[Request]:
    """Prompts of many lengths; limits of 1 to 40 tokens, the long ones far apart."""
    return [
        ask(
            f"{index}",
            "why " * (7 * index % 5) + "?",
            [noise(index, *SHAPES[index % len(SHAPES)])],
            Generation(max_new_tokens=40 if index % 4 == 0 else 1 + index % 7, **generation),  # type: ignore[arg-type]
        )
        for index in range(count)
    ]


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.8, "top_p": 0.9, "seed": 3}])
def test_rows_that_come_and_go_say_what_they_say_alone(folder: str, sampling: dict[str, float]) -> None:
    requests = questions(18, **sampling)
    alone = answers(load(folder, "static", 1), requests)
    together = answers(load(folder, "continuous"), requests)
    assert texts(together) == texts(alone)
    for name, completion in together.items():
        assert (completion.usage, completion.finish_reason) == (alone[name].usage, alone[name].finish_reason)
    assert len({completion.usage.completion_tokens for completion in together.values()}) > 5


def test_stop_strings_end_a_row_and_no_other(llava: str, model: TransformersModel) -> None:
    single = load(llava, "static", 1)
    free = texts(answers(single, questions(12)))
    stop = (free["0"][5:7], free["4"][9])
    requests = [
        ask(request.key.sample_id, request.messages[0].text, request.media, Generation(40, stop=stop))
        for request in questions(12)
    ]
    alone, together = answers(single, requests), answers(model, requests)
    assert texts(together) == texts(alone)
    assert {c.usage for c in together.values()} == {c.usage for c in alone.values()}
    assert "stop" in {c.finish_reason for c in together.values()}


def test_a_repetition_penalty_goes_by_the_rows_own_words(folder: str) -> None:
    requests = questions(12)
    alone = texts(answers(load(folder, "static", 1, generation_repetition_penalty=1.3), requests))
    together = load(folder, "continuous", generation_repetition_penalty=1.3)
    assert texts(answers(together, requests)) == alone
    assert alone != texts(answers(load(folder, "static", 1), requests))


def test_an_answer_that_ends_makes_room_at_once(
    model: TransformersModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Static batches of eight would wait for two long answers one after the other, and keep the short ones back."""
    joined: list[int] = []
    steps = 0
    join, step, take = RunningRows.join, RunningRows.step, OneAhead.take

    def noted_join(self: RunningRows, batch: object) -> object:
        joined.append(len(self))
        return join(self, batch)  # type: ignore[arg-type]

    def noted_step(self: RunningRows) -> object:
        nonlocal steps
        steps += 1
        assert len(self) <= 8
        return step(self)

    monkeypatch.setattr(RunningRows, "join", noted_join)
    monkeypatch.setattr(RunningRows, "step", noted_step)
    # How many have been prepared by a step depends on what else the machine does: here all that can be.
    monkeypatch.setattr(OneAhead, "take", lambda self, *, wait: take(self, wait=True))
    stream = ListStream(
        [ask(f"{n}", "why?", [noise(n)], Generation(60 if n in (0, 8) else 6)) for n in range(16)]
    )
    model._generator._eos = frozenset()  # type: ignore[attr-defined]
    order = [completion.key.sample_id for completion in model.generate(stream)]
    assert stream.limits[0] == 2
    assert max(stream.limits) <= 4, "claims are a part of the batch size"
    assert joined[0] == 0
    assert all(running > 0 for running in joined[1:]), "they join while others are answered"
    assert steps < 90, "both long answers were worked on at the same time"
    assert set(order[-2:]) == {"0", "8"}, "short answers don't wait for long ones"


def test_an_error_of_the_stream_comes_after_the_answers_to_what_was_claimed(model: TransformersModel) -> None:
    class Cut(ListStream):
        def take(self, limit: int) -> list[Request]:
            if len(self.limits) == 2:
                raise ConnectionError("coordinator gone")
            return super().take(limit)

    stream, answered = Cut(questions(12)), 0
    with pytest.raises(ConnectionError, match="coordinator gone"):
        for completion in model.generate(stream):
            assert completion.failure is None
            answered += 1
    assert answered == sum(stream.limits) == 12 - len(stream.pending)
    assert 0 < answered < 12


def test_a_generator_that_was_closed_leaves_no_rows_behind(model: TransformersModel) -> None:
    requests = questions(12)
    expected = texts(answers(model, requests))
    half = model.generate(ListStream(requests))
    next(half)
    half.close()  # type: ignore[attr-defined]
    assert texts(answers(model, requests)) == expected


Told = Callable[[str, RunningRows, int], Exception | None]


def harmed(monkeypatch: pytest.MonkeyPatch, error: Told) -> None:
    """`error` is told what happens ("join" or "step"), the rows, and how many there would be."""
    join, step = RunningRows.join, RunningRows.step

    def harmed_join(self: RunningRows, batch: object) -> object:
        if (raised := error("join", self, len(self) + len(batch))) is not None:  # type: ignore[arg-type]
            raise raised
        return join(self, batch)  # type: ignore[arg-type]

    def harmed_step(self: RunningRows) -> object:
        if (raised := error("step", self, len(self))) is not None:
            raise raised
        return step(self)

    monkeypatch.setattr(RunningRows, "join", harmed_join)
    monkeypatch.setattr(RunningRows, "step", harmed_step)


FULL = "CUDA out of memory. Tried to allocate 2.00 GiB"


@pytest.mark.parametrize("where", ["join", "step"])
def test_out_of_memory_loses_nothing_and_leaves_fewer_rows_at_a_time(
    model: TransformersModel, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    expected = texts(answers(model, questions(20)))
    most: list[int] = []

    def small(place: str, _: RunningRows, size: int) -> Exception | None:
        most.append(size)
        return RuntimeError(FULL) if place == where and size > 5 else None

    harmed(monkeypatch, small)
    assert texts(answers(model, questions(20))) == expected
    assert model.slots < 8
    assert max(most[-5:]) <= model.slots


@pytest.mark.parametrize("method", ["arrange", "write"])
def test_memory_that_runs_out_between_two_layers_leaves_no_row_half_moved(
    model: TransformersModel, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Making room for rows that join is what takes memory, and some layers have made it then and others not."""
    expected = texts(answers(model, questions(20)))
    inner, calls = getattr(SlotLayer, method), 0

    def full(self: SlotLayer, *arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:  # the second of two layers, for the second batch
            raise RuntimeError(FULL)
        inner(self, *arguments)

    monkeypatch.setattr(SlotLayer, method, full)
    completions = answers(model, questions(20))
    assert calls > 4
    assert texts(completions) == expected


def test_what_the_model_chokes_on_is_found_among_the_rows(
    model: TransformersModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = texts(answers(model, questions(12)))

    def picky(place: str, rows: RunningRows, _: int) -> Exception | None:
        bad = any(request.key.sample_id == "4" for request in rows.requests)
        return IndexError("index out of range in self") if place == "step" and bad else None

    harmed(monkeypatch, picky)
    alone = model._generator.answer

    def answer(batch: object) -> object:
        if any(row.request.key.sample_id == "4" for row in batch.rows):  # type: ignore[attr-defined]
            raise IndexError("index out of range in self")
        return alone(batch)  # type: ignore[arg-type]

    monkeypatch.setattr(model._generator, "answer", answer)
    completions = answers(model, questions(12))
    failure = completions.pop("4").failure
    assert failure is not None
    assert (failure.kind, failure.type) == ("sample", "IndexError")
    assert texts(completions) == {name: text for name, text in expected.items() if name != "4"}


def test_a_broken_device_is_the_replicas_end(
    model: TransformersModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = RuntimeError("CUDA error: device-side assert triggered")
    harmed(monkeypatch, lambda place, _rows, _size: broken if place == "step" else None)
    with pytest.raises(ReplicaError, match="device-side assert"):
        list(model.generate(ListStream(questions(4))))


def test_the_batch_size_grows_while_memory_allows(model: TransformersModel) -> None:
    class Roomy:
        def begin(self) -> None:
            """Nothing to note."""

        def room_for_twice(self) -> bool:
            return model._batch_size.limit < 6

        def release(self) -> None:
            """Nothing to give back."""

    expected = texts(answers(model, questions(24)))
    model._batch_size, model._memory = BatchSize(1, 64), Roomy()
    assert texts(answers(model, questions(24))) == expected
    assert model._batch_size.limit == 8


def test_a_model_with_another_cache_is_asked_in_static_batches(tmp_path: Path) -> None:
    sees_the_latest_tokens = functools.partial(MistralConfig, sliding_window=12, head_dim=16)
    build_llava(tmp_path / "sliding", sees_the_latest_tokens)
    folder = str(tmp_path / "sliding")
    model = load(folder, "auto", 4)
    assert model.batched
    assert texts(answers(model, questions(6))) == texts(answers(load(folder, "static", 1), questions(6)))
    with pytest.raises(ConfigurationError, match=r"batching=continuous: not with this model.*DynamicSliding"):
        load(folder, "continuous")


def test_generation_settings_that_look_at_all_rows_alike_are_left_to_static_batches(llava: str) -> None:
    assert load(llava, "auto", generation_no_repeat_ngram_size=2).batched
    with pytest.raises(ConfigurationError, match="NoRepeatNGram"):
        load(llava, "continuous", generation_no_repeat_ngram_size=2)


def test_only_known_ways_of_batching_and_none_of_them_for_a_divided_model(llava: str) -> None:
    with pytest.raises(ConfigurationError, match="batching=often: expected auto, continuous, static"):
        TransformersModel.check(ModelSettings(llava, {"batching": "often"}))
    divided = ModelSettings(llava, {"batching": "continuous"}, gpus_per_replica=2, parallelism="tensor")
    with pytest.raises(ConfigurationError, match="--parallelism tensor batches are static"):
        TransformersModel.check(divided)


def test_claims_are_larger_where_answers_are_short() -> None:
    """Reading prompts for every few tokens would be most of the work; a large claim waits for the longest answers."""
    assert [claim_size(64, tokens) for tokens in (None, 1.0, 5.0, 20.0, 500.0)] == [16, 64, 32, 25, 16]
    assert [claim_size(limit, 5.0) for limit in (1, 2, 3, 8)] == [1, 1, 1, 4]


def prefilled(value: float, rows: int, width: int) -> DynamicCache:
    """Two layers of `rows` rows; every key tells its row and column."""
    cache = DynamicCache()
    for layer in range(2):
        keys = value + 100 * torch.arange(rows)[:, None] + torch.arange(width)[None, :]
        cache.update(keys[:, None, :, None].float() + layer, keys[:, None, :, None].float() - layer, layer)
    return cache


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 90), st.integers(0, 70)), min_size=1, max_size=6))
def test_slots_hold_their_rows_through_every_move(plan: list[tuple[int, int, int]]) -> None:
    """Rows come in groups, of some width, and so many tokens are added after each; every other row leaves then."""
    cache: SlotCache | None = None
    rows: list[torch.Tensor] = []
    token = 0.5
    for number, (count, width, steps) in enumerate(plan):
        new = prefilled(1000.0 * number, count, width)
        if cache is None:
            cache = SlotCache(new)
        kept = list(range(0, len(rows), 2))
        rows = [rows[slot] for slot in kept]
        columns = max([width, *(len(row) for row in rows)])
        cache.arrange(torch.tensor(kept, dtype=torch.long), len(rows) + count, columns)
        cache.write(torch.arange(len(rows), len(rows) + count), new, torch.arange(count))
        rows += list(new.layers[0].keys[:, 0, :, 0])
        for _ in range(steps):
            if cache.full:
                cache.arrange(torch.arange(len(rows)), len(rows), max(map(len, rows)))
            token += 1
            added = torch.full((len(rows), 1, 1, 1), token)
            for layer in range(2):
                cache.cache.update(added + layer, added - layer, layer)
            rows = [torch.cat([row, torch.tensor([token])]) for row in rows]
        for layer in range(2):
            keys, values = cache.cache.layers[layer].keys, cache.cache.layers[layer].values
            for slot, row in enumerate(rows):
                assert torch.equal(keys[slot, 0, keys.shape[2] - len(row) :, 0], row + layer)
                assert torch.equal(values[slot, 0, values.shape[2] - len(row) :, 0], row - layer)
