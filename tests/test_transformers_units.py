"""The pure parts: batch sizes, cutting by length, drawing tokens, finding stop strings."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from muster.core import Generation, RequestKey
from muster.models.seeding import request_seed
from muster.models.transformers.batch_size import CPU_BATCH, CUDA_CEILING, CUDA_START, BatchSize
from muster.models.transformers.generation import first_stop
from muster.models.transformers.memory import CudaMemory
from muster.models.transformers.preparation import similar_lengths
from muster.models.transformers.sampling import SeededSampling, draws


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=64), st.floats(0.0, 0.9))
def test_every_row_lands_in_one_part_and_no_part_is_mostly_padding(
    lengths: list[int], max_padding: float
) -> None:
    parts = similar_lengths(lengths, max_padding)
    assert sorted(index for part in parts for index in part) == list(range(len(lengths)))
    for part in parts:
        tokens = sum(lengths[index] for index in part)
        area = len(part) * max(lengths[index] for index in part)
        assert tokens >= (1 - max_padding) * area - 1e-6


def test_one_huge_prompt_does_not_pad_the_others() -> None:
    assert similar_lengths([300, 4000, 310, 290]) == [[1], [2, 0, 3]]
    assert similar_lengths([300, 400, 310]) == [[0, 1, 2]]


def test_a_growing_batch_size_doubles_while_there_is_room() -> None:
    size = BatchSize.choose("auto", on_gpu=True)
    assert size.limit == CUDA_START
    size.worked(1, room_for_twice=True)
    assert size.limit == CUDA_START, "a batch that wasn't full proves nothing"
    while size.growing:
        size.worked(size.limit, room_for_twice=True)
    assert size.limit == CUDA_CEILING


def test_a_batch_size_that_was_too_large_never_comes_back() -> None:
    size = BatchSize.choose("auto", on_gpu=True)
    size.worked(4, room_for_twice=True)
    size.worked(8, room_for_twice=True)
    size.ran_out_of_memory(16)
    assert size.limit == 8
    size.worked(8, room_for_twice=True)
    assert size.limit == 8
    size.ran_out_of_memory(16)  # the batch that was prepared before
    assert size.limit == 8
    size.ran_out_of_memory(1)
    assert size.limit == 1


def test_a_given_batch_size_is_kept_and_a_cpu_has_a_fixed_one() -> None:
    for size, expected in (
        (BatchSize.choose(24, on_gpu=True), 24),
        (BatchSize.choose("auto", on_gpu=False), CPU_BATCH),
    ):
        assert not size.growing
        assert size.limit == expected


def draw(generation: Generation, logits: list[float], count: int) -> torch.Tensor:
    """How often each token is drawn, as a fraction."""
    keys = [RequestKey("t", str(index)) for index in range(count)]
    scores = torch.tensor([logits] * count)
    picked = SeededSampling(generation, [draws(generation, key) for key in keys])(
        torch.zeros(count, 0, dtype=torch.long), scores
    )
    assert (picked.isfinite().sum(dim=1) == 1).all()
    return torch.bincount(picked.argmax(dim=1), minlength=len(logits)) / count


def test_tokens_are_drawn_as_often_as_the_model_says() -> None:
    logits = torch.tensor([0.1, 0.6, 0.3]).log().tolist()
    plain = draw(Generation(temperature=1.0), logits, 20_000)
    assert plain.tolist() == pytest.approx([0.1, 0.6, 0.3], abs=0.02)
    sharper = draw(Generation(temperature=0.5), logits, 20_000)
    assert sharper.tolist() == pytest.approx([0.01 / 0.46, 0.36 / 0.46, 0.09 / 0.46], abs=0.02)


def test_top_k_and_top_p_leave_out_the_tail() -> None:
    logits = torch.tensor([0.1, 0.6, 0.3]).log().tolist()
    two = draw(Generation(temperature=1.0, top_k=2), logits, 20_000)
    assert two.tolist() == pytest.approx([0.0, 2 / 3, 1 / 3], abs=0.02)
    assert two[0] == 0
    nucleus = draw(Generation(temperature=1.0, top_p=0.85), logits, 20_000)
    assert nucleus.tolist() == pytest.approx(two.tolist(), abs=0.02)
    assert draw(Generation(temperature=1.0, top_p=0.5), logits, 100).tolist() == [0.0, 1.0, 0.0]
    assert draw(Generation(temperature=1.0, top_p=0.0), logits, 100).tolist() == [0.0, 1.0, 0.0]


def test_tokens_that_were_ruled_out_are_never_drawn() -> None:
    assert draw(Generation(temperature=5.0), [float("-inf"), 0.0, float("-inf")], 200).tolist() == [
        0.0,
        1.0,
        0.0,
    ]


def test_seeds_are_the_same_on_every_machine_and_differ_by_request() -> None:
    assert request_seed(0, RequestKey("t", "1")) == 2375697966234629476
    names = [RequestKey("t", "1"), RequestKey("t", "11"), RequestKey("t1", "1"), RequestKey("t", "1", 1)]
    assert len({request_seed(seed, key) for key in names for seed in (0, 1)}) == 8


def test_the_earliest_stop_string_counts() -> None:
    assert first_stop("one, two. three", (".", ",")) == 3
    assert first_stop("one", (".",)) is None
    assert first_stop("one", ()) is None


def test_a_gpu_has_room_for_twice_while_its_fullest_device_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights don't double with the batch; what the batch itself took does. Every device must hold it."""
    gigabyte = 2**30
    first, second = torch.device("cuda", 0), torch.device("cuda", 1)
    peaks = {first: 30 * gigabyte, second: 40 * gigabyte}
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 20 * gigabyte)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peaks[device])
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: peaks[device])
    monkeypatch.setattr(
        torch.cuda, "mem_get_info", lambda device: (80 * gigabyte - peaks[device], 80 * gigabyte)
    )
    memory = CudaMemory([first, second])
    memory.begin()
    assert memory.room_for_twice()  # 20 + 2 * 20 of 80
    peaks[second] = 50 * gigabyte
    assert not memory.room_for_twice()  # 20 + 2 * 30 of 80: over nine tenths
