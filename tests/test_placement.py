"""Replicas of several GPUs: how many fit, who gets which, and which of a launcher's ranks feed one.

Guards against two replicas on one GPU, a model spread over GPUs of which the process sees one, and ranks that wait for
a replica that nobody feeds.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.config import load_config
from muster.core import ConfigurationError
from muster.doctor.replicas import see_replica
from muster.engines.choose import asked_for, choose_engine
from muster.engines.placement import Asked, RankPlacement, Shape, replicas_here, take_seat
from muster.machine.ranks import Ranks
from sizing_models import LLAVA_NEXT_34B, llava_next_34b_tensors, write_model

EIGHT = [str(index) for index in range(8)]


def ranks(rank: int, local_world_size: int, nodes: int = 1) -> Ranks:
    return Ranks(rank, nodes * local_world_size, rank % local_world_size, local_world_size, "torchrun")


def seats(asked: Asked, processes: int, gpus: list[str], nodes: int = 1) -> list[RankPlacement]:
    return [take_seat(asked, ranks(rank, processes, nodes), gpus) for rank in range(nodes * processes)]


@pytest.mark.parametrize(
    ("asked", "wanted", "gpus", "replicas", "shape"),
    [
        (Asked(), None, 8, 8, Shape(1)),
        (Asked(), None, 0, 1, Shape(1)),
        (Asked(), 2, 8, 2, Shape(1)),
        (Asked(2), None, 8, 4, Shape(2)),
        (Asked(3), None, 8, 2, Shape(3)),
        (Asked(2), 3, 8, 3, Shape(2)),
        (Asked(2, "tensor"), None, 8, 4, Shape(2, "tensor")),
        (Asked(2, "tensor"), 3, 0, 3, Shape(2, "tensor")),  # on a CPU: processes
        (Asked(spread=True), None, 8, 1, Shape(8)),  # device_map=auto alone: all of them
        (Asked(spread=True), 2, 8, 2, Shape(4)),
        (Asked(None, "tensor", spread=True), None, 8, 1, Shape(8, "tensor")),
        (Asked(spread=True), None, 0, 1, Shape(1)),
    ],
)
def test_as_many_replicas_as_fit(
    asked: Asked, wanted: int | None, gpus: int, replicas: int, shape: Shape
) -> None:
    assert replicas_here(asked, wanted, gpus) == (replicas, shape)


def test_replicas_that_do_not_fit_are_refused_with_their_numbers() -> None:
    with pytest.raises(ConfigurationError, match=r"5 replicas with 2 GPUs each: only 8 GPU\(s\)"):
        replicas_here(Asked(2), 5, 8)
    with pytest.raises(ConfigurationError, match=r"--gpus-per-replica 16: only 8 GPU\(s\)"):
        replicas_here(Asked(16), None, 8)
    with pytest.raises(ConfigurationError, match="how many processes share"):
        replicas_here(Asked(None, "tensor", spread=True), None, 0)


@given(st.integers(1, 16), st.integers(1, 16), st.integers(0, 16), st.integers(1, 3), st.booleans())
def test_every_replica_gets_k_gpus_that_nobody_else_has(
    size: int, processes: int, count: int, nodes: int, tensor: bool
) -> None:
    asked, gpus = Asked(size, "tensor" if tensor else "device-map"), [str(index) for index in range(count)]
    try:
        taken = seats(asked, processes, gpus, nodes)
    except ConfigurationError:
        grouped = processes % size == 0 and (count == 0 or count >= processes)
        assert count < processes * size, "there was a replica's worth of GPUs for every process"
        assert not grouped, "consecutive ranks could have shared their GPUs"
        return
    leading = [seat for seat in taken if seat.leads]
    assert [seat.ranks.rank for seat in leading] == list(taken[0].leading_ranks)
    assert [seat.replica for seat in leading] == list(range(len(leading)))
    for node in range(nodes):
        here = [seat for seat in leading if seat.ranks.rank // processes == node]
        given_out = [gpu for seat in here for gpu in seat.gpus]
        assert len(given_out) == len(set(given_out)) == (size * len(here) if count else 0)
    if not count and not tensor:
        assert len(leading) == len(taken), "on a CPU nothing is to be shared"


def test_one_rank_per_replica_and_one_rank_per_gpu() -> None:
    few = seats(Asked(4, "tensor"), 2, EIGHT)
    assert [seat.gpus for seat in few] == [EIGHT[:4], EIGHT[4:]]
    assert [seat.leads for seat in few] == [True, True]
    many = seats(Asked(4, "tensor"), 8, EIGHT)
    assert [seat.ranks.rank for seat in many if seat.leads] == [0, 4]
    assert [seat.gpus for seat in many if seat.leads] == [EIGHT[:4], EIGHT[4:]]
    assert {seat.local_processes for seat in few + many} == {8}


def test_ranks_that_can_not_be_grouped_say_why() -> None:
    with pytest.raises(ConfigurationError, match=r"3 doesn't divide the 4 process\(es\)"):
        take_seat(Asked(3, "tensor"), ranks(0, 4), [])
    with pytest.raises(
        ConfigurationError, match=r"3 doesn't divide the 8 .* or 2 processes with 3 GPUs each"
    ):
        take_seat(Asked(3), ranks(0, 8), EIGHT)
    with pytest.raises(
        ConfigurationError, match=r"4 process\(es\) and 1 GPU\(s\) that this one sees.*gpu-bind"
    ):
        take_seat(Asked(2), ranks(0, 4), ["0"])
    with pytest.raises(
        ConfigurationError, match="distribution=block"
    ):  # ranks dealt out to the nodes in turn
        take_seat(Asked(2, "tensor"), Ranks(2, 8, 1, 4, "slurm"), [])


def test_a_model_that_can_not_be_spread_because_every_rank_has_one_gpu(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`device_map=auto` and eight processes, where lmms-eval silently ignores the map."""
    with caplog.at_level(logging.WARNING):
        assert {seat.shape for seat in seats(Asked(spread=True), 8, EIGHT)} == {Shape(1)}
    assert len(caplog.records) == 1
    assert "--gpus-per-replica" in caplog.text


def test_gpus_that_no_process_is_there_for_are_said(caplog: pytest.LogCaptureFixture) -> None:
    """Four processes for eight GPUs, and four GPUs to a replica: half the node would idle, unsaid."""
    with caplog.at_level(logging.WARNING):
        assert [seat.leads for seat in seats(Asked(4), 4, EIGHT)] == [True, False, False, False]
    assert len(caplog.records) == 1
    assert "4 of 8 GPUs of a node are left over: 4 processes share 1 replica(s)" in caplog.text


def choose(**options: object) -> tuple[str, int, Shape]:
    chosen = choose_engine(load_config({"model": "m", "tasks": "t", **options}, env={}))
    return chosen.engine.name, chosen.replicas, chosen.shape


def test_the_engine_that_a_replicas_shape_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert choose() == ("local", 4, Shape(1))
    assert choose(auto=True) == ("inline", 1, Shape(4))
    assert choose(model_args="device_map=auto") == ("inline", 1, Shape(4))
    assert choose(model_args="device_map=auto", replicas=2) == ("local", 2, Shape(2))
    assert choose(gpus_per_replica=2) == ("local", 2, Shape(2))
    assert choose(gpus_per_replica=2, replicas=1) == ("local", 1, Shape(2))  # inline would see all four
    assert choose(gpus_per_replica=2, parallelism="tensor") == ("local", 2, Shape(2, "tensor"))
    assert choose(model_args="device=cpu", gpus_per_replica=2, parallelism="tensor") == (
        "local",
        1,
        Shape(2, "tensor"),
    )
    assert choose(model_args='{"device_map": {"a": 0, "b": 1}}')[2] == Shape(4)
    assert choose(model_args='{"device_map": {"a": 0, "b": "cpu"}}', replicas=1)[2] == Shape(1)
    with pytest.raises(ConfigurationError, match="--engine local"):
        choose(gpus_per_replica=2, parallelism="tensor", engine="inline", replicas=1)
    with pytest.raises(ConfigurationError, match="--engine inline has one replica"):
        choose(engine="inline", replicas=2)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> str:
    """64.7 GiB of weights, as far as headers tell."""
    return str(write_model(tmp_path_factory.mktemp("large"), LLAVA_NEXT_34B, llava_next_34b_tensors()))


@pytest.fixture
def eight_of_40_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muster.sizing.choice.gpu_memory", lambda gpus: [40 * 2**30] * len(gpus))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(EIGHT))


@pytest.mark.usefixtures("eight_of_40_gib")
def test_a_large_model_gets_the_gpus_it_needs_where_nobody_says(
    large: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert choose(model=large) == ("local", 4, Shape(2))
    assert "a replica gets 2 GPUs" in caplog.text
    assert choose(model=large, replicas=1) == ("local", 1, Shape(2))
    assert choose(model=large, gpus_per_replica=1) == ("local", 8, Shape(1))  # who says so may try
    assert choose(model=large, model_args="load_in_4bit=true") == ("local", 8, Shape(1))
    with pytest.raises(ConfigurationError, match="5 replicas with 2 GPUs each: only 8"):
        choose(model=large, replicas=5)


@pytest.mark.usefixtures("eight_of_40_gib")
def test_the_planner_keeps_out_of_what_it_knows_nothing_of(
    large: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = ("local", 8, Shape(1))
    assert choose(model="demo") == small
    assert choose(model="owner/name") == small
    assert choose(model=large, backend="fake_models:Echo") == small
    assert choose(model="gpt", backend="openai", model_args="base_url=http://h/v1")[2] == Shape(1)
    assert choose(model=large, model_args="device_map=auto") == ("inline", 1, Shape(8))
    assert choose(model=large, model_args="device=cpu")[2] == Shape(1)
    assert choose(model=large, parallelism="tensor") == ("local", 1, Shape(8, "tensor"))
    # All GPUs are those of machines that join: this one may be too small for the model.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert choose(model=large, replicas=0, listen="127.0.0.1:0") == ("local", 0, Shape(1))
    with pytest.raises(ConfigurationError, match=r"doesn't fit on 1 GPU\(s\)"):
        choose(model=large)


@pytest.mark.usefixtures("eight_of_40_gib")
@pytest.mark.parametrize(("processes", "leading"), [(8, [0, 2, 4, 6]), (4, [0, 1, 2, 3])])
def test_a_launchers_ranks_agree_on_the_gpus_that_a_model_needs(
    large: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    processes: int,
    leading: list[int],
) -> None:
    """One process per GPU or per replica; said by rank 0 alone, not by thousands."""
    config = load_config({"model": large, "tasks": "t"}, env={})
    taken = []
    for rank in range(processes):
        asked = asked_for(config, aloud=rank == 0)
        taken.append(take_seat(asked, ranks(rank, processes), asked.visible()))
    assert [seat.ranks.rank for seat in taken if seat.leads] == leading
    assert [gpu for seat in taken if seat.leads for gpu in seat.gpus] == EIGHT
    assert len(caplog.records) == 1
    for name, value in {
        "RANK": 0,
        "WORLD_SIZE": processes,
        "LOCAL_RANK": 0,
        "LOCAL_WORLD_SIZE": processes,
    }.items():
        monkeypatch.setenv(name, str(value))
    assert choose(model=large) == ("torchrun", 4, Shape(2))


SLURM = Ranks(1, 4, 1, 4, "slurm")


@pytest.mark.parametrize(
    ("asked", "visible", "shape", "gpus"),
    [
        (Asked(), ["0"], Shape(1), ["0"]),  # --gpus-per-task=1, numbered by cgroups
        (Asked(2), ["2", "3"], Shape(2), ["2", "3"]),
        (Asked(2, "tensor"), ["0", "1"], Shape(2, "tensor"), ["0", "1"]),
        (Asked(1), ["0", "1"], Shape(1), ["0"]),
        (Asked(spread=True), ["0", "1"], Shape(2), ["0", "1"]),
        (Asked(None, "tensor", spread=True), ["0", "1"], Shape(2, "tensor"), ["0", "1"]),
    ],
)
def test_slurm_tasks_with_gpus_of_their_own_feed_a_replica_each(
    monkeypatch: pytest.MonkeyPatch, asked: Asked, visible: list[str], shape: Shape, gpus: list[str]
) -> None:
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", str(4 * len(visible)))
    seat = take_seat(asked, SLURM, visible)
    assert (seat.shape, list(seat.gpus), seat.leads, seat.replica) == (shape, gpus, True, 1)
    assert list(seat.leading_ranks) == [0, 1, 2, 3]
    assert seat.local_processes == 4 * shape.processes


def test_slurm_tasks_with_too_few_gpus_of_their_own_say_how_to_give_them_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "4")
    with pytest.raises(ConfigurationError, match=r"rank 1 1 GPU\(s\) of its own.*gpus-per-task"):
        take_seat(Asked(2), SLURM, ["0"])
    assert [take_seat(Asked(2), Ranks(rank, 4, rank, 4, "slurm"), EIGHT[:4]).leads for rank in range(4)] == [
        True,
        False,
        True,
        False,
    ]  # all see all


def test_the_doctor_says_what_becomes_of_each_rank() -> None:
    tensor = Asked(2, "tensor")
    assert see_replica(tensor, ranks(2, 4), []).part == "feeds replica 1 (2 GPUs per replica, tensor)"
    assert (
        "not needed: rank 2 feeds replica 1 on GPU 2, 3" in see_replica(tensor, ranks(3, 4), EIGHT[:4]).part
    )
    assert "doesn't divide" in see_replica(Asked(3, "tensor"), ranks(0, 4), []).problem
    assert see_replica(Asked(4), None, EIGHT).part == "2 × (4 GPUs per replica, device-map)"
    assert see_replica(None, None, EIGHT) == ("", "")


def test_gather_and_tensor_parallelism_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match="leave --collect out"):
        choose(collect="gather", gpus_per_replica=2, parallelism="tensor")
    with pytest.raises(ConfigurationError, match="2 processes, which makes 1 replica"):
        choose(replicas=2, gpus_per_replica=2, parallelism="tensor")
