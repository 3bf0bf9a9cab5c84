"""How many GPUs a replica gets, for models of known size on GPUs of known size.

Guards against the two expensive mistakes: a plan that runs out of memory after an hour of loading, and one that takes
eight GPUs for what two can do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.core import JSON, ConfigurationError
from muster.core.choices import Parallelism
from muster.sizing import choice as choice_module
from muster.sizing.checkpoint import read_folder
from muster.sizing.choice import choose_for_run
from muster.sizing.demand import assumed_demand
from muster.sizing.fit import Gpus, all_fits, choose, refusal
from muster.sizing.image_grids import ImageSize
from muster.sizing.memory import Demand
from muster.sizing.plan import Described, Plan, describe, make_plan
from sizing_models import (
    INTERNVL3_8B,
    LLAVA_NEXT_34B,
    QWEN2_5_VL_7B,
    QWEN2_5_VL_72B,
    QWEN3_VL_8B,
    llava_next_34b_tensors,
    qwen_tensors,
    write_model,
)

GIB = 2**30


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Described:
    folder = write_model(tmp_path_factory.mktemp("34b"), LLAVA_NEXT_34B, llava_next_34b_tensors(), shards=15)
    return describe(read_folder(folder))


@pytest.fixture(scope="module")
def qwen_72b(tmp_path_factory: pytest.TempPathFactory) -> Described:
    return describe(
        read_folder(write_model(tmp_path_factory.mktemp("72b"), QWEN2_5_VL_72B, qwen_tensors(QWEN2_5_VL_72B)))
    )


def planned(model: Described, cluster: Gpus, parallelism: Parallelism | None = None, **demand: Any) -> Plan:
    limit = model.architecture.text.context
    return make_plan(model, assumed_demand(model.rule, limit=limit, **demand), cluster, parallelism)


@pytest.mark.parametrize(
    ("cluster", "gpus", "replicas"),
    [
        (Gpus(2, 40 * GIB), 2, 1),
        (Gpus(8, 40 * GIB), 2, 4),
        (Gpus(8, 40 * 10**9), 2, 4),  # a GB of 10⁹ bytes
        (Gpus(8, 80 * GIB), 1, 8),
        (Gpus(8, 24 * GIB), 4, 2),
        (Gpus(8, 40 * GIB, nodes=2), 2, 8),
    ],
    ids=str,
)
def test_llava_next_34b(llava: Described, cluster: Gpus, gpus: int, replicas: int) -> None:
    plan = planned(llava, cluster)
    assert plan.choice is not None
    assert (plan.choice.gpus_per_replica, plan.choice.replicas, plan.choice.idle_gpus) == (gpus, replicas, 0)
    assert plan.choice.fit.parallelism == "tensor"
    assert plan.choice.fit.largest_batch >= 1
    assert plan.model.divisors == (1, 2, 4, 8)


def test_llava_next_34b_under_a_device_map(llava: Described) -> None:
    plan = planned(llava, Gpus(8, 40 * GIB), "device-map")
    assert plan.choice is not None
    assert (plan.choice.gpus_per_replica, plan.choice.replicas) == (2, 4)
    assert any("one GPU of a replica works at a time" in problem.what for problem in plan.problems)


def test_one_gpu_of_40_gib_is_refused_with_numbers(llava: Described) -> None:
    plan = planned(llava, Gpus(1, 40 * GIB))
    assert plan.choice is None
    [error] = [problem for problem in plan.problems if problem.level == "error"]
    assert "64.7 GiB as float16" in error.what
    assert "load_in_4bit=true" in error.advice


def test_qwen_72b_on_two_nodes_of_80_gib_gpus(qwen_72b: Described) -> None:
    plan = planned(qwen_72b, Gpus(8, 80 * GIB, nodes=2), image=ImageSize(1280, 960))
    assert plan.choice is not None
    assert (plan.choice.gpus_per_replica, plan.choice.replicas) == (2, 8)
    weights = {fit.gpus: fit.weights for fit in plan.fits if fit.parallelism == "tensor"}
    assert weights[1] == plan.model.loaded
    assert weights[2] > plan.model.loaded / 2  # the vision tower and the norms are on both
    biggest = planned(qwen_72b, Gpus(8, 80 * GIB), batch=32)
    assert biggest.choice is not None
    assert biggest.choice.gpus_per_replica == 4


def test_k_that_divides_no_heads_is_refused_with_the_reason() -> None:
    from muster.sizing.architecture import read_architecture

    internvl = read_architecture(INTERNVL3_8B)  # 28 heads, 4 key-value heads
    assert refusal(internvl, 2, "tensor") == ""
    assert refusal(internvl, 8, "tensor") == "doesn't divide its 28 attention heads"
    assert refusal(internvl, 14, "tensor") == "doesn't divide its 4 key-value heads"
    assert refusal(internvl, 7, "device-map") == ""
    assert "28 layers" in refusal(internvl, 29, "device-map")
    assert "tensor-parallel plan" in refusal(read_architecture(QWEN3_VL_8B), 2, "tensor")
    assert refusal(read_architecture(QWEN3_VL_8B), 1, "tensor") == ""


def test_without_a_tensor_plan_the_device_map_is_what_is_left(tmp_path: Path) -> None:
    model = describe(read_folder(write_model(tmp_path, QWEN3_VL_8B, qwen_tensors(QWEN3_VL_8B))))
    plan = planned(model, Gpus(4, 16 * GIB), image=ImageSize(640, 480))
    assert plan.choice is not None
    assert (plan.choice.gpus_per_replica, plan.choice.fit.parallelism) == (2, "device-map")
    assert plan.model.divisors == (1,)


def test_a_7b_model_runs_on_a_24_gib_card(tmp_path: Path) -> None:
    model = describe(read_folder(write_model(tmp_path, QWEN2_5_VL_7B, qwen_tensors(QWEN2_5_VL_7B))))
    plan = planned(model, Gpus(1, 24 * GIB), image=ImageSize(1280, 960))
    assert plan.choice is not None
    assert plan.choice.fit.largest_batch >= 4
    assert planned(model, Gpus(1, 16 * GIB), image=ImageSize(1280, 960)).choice is None
    smaller = describe(model.checkpoint, "int4")
    assert planned(smaller, Gpus(1, 12 * GIB), image=ImageSize(1280, 960)).choice is not None


@settings(max_examples=60, deadline=None)
@given(
    memory=st.integers(8, 200),
    gpus=st.integers(1, 16),
    nodes=st.integers(1, 3),
    batch=st.integers(1, 64),
    prompt=st.integers(1, 20_000),
    answer=st.integers(1, 2048),
)
def test_choices_keep_their_promises(
    llava: Described, memory: int, gpus: int, nodes: int, batch: int, prompt: int, answer: int
) -> None:
    cluster, demand = Gpus(gpus, memory * GIB, nodes), Demand(batch, prompt, answer, 2885)
    fits = all_fits(llava.architecture, llava.parameters, demand, cluster)
    chosen = choose(fits, cluster)
    if chosen is None:
        assert not any(fit.fits for fit in fits)
        return
    fit = chosen.fit
    assert fit.fits
    assert fit.needed <= cluster.gpu_memory
    assert fit.largest_batch >= min(batch, 128)
    assert chosen.replicas * fit.gpus + chosen.idle_gpus == gpus * nodes
    assert chosen.replicas % nodes == 0
    if fit.parallelism == "tensor":
        assert fit.gpus in (1, 2, 4, 8)
        fewer = [
            f for f in fits if f.fits and f.parallelism == "tensor" and gpus // f.gpus > gpus // fit.gpus
        ]
        assert not fewer  # nothing smaller fits that would give more replicas
    else:
        assert not any(f.fits and f.parallelism == "tensor" for f in fits)
    more = Gpus(gpus, (memory + 10) * GIB, nodes)
    again = choose(all_fits(llava.architecture, llava.parameters, demand, more), more)
    assert again is not None
    assert again.replicas >= chosen.replicas or fit.parallelism == "device-map"


Installed = Callable[..., list[str]]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Installed:
    """Pretend that there are GPUs of so many GiB; returns their entries in `CUDA_VISIBLE_DEVICES`."""

    def install(*gib: int) -> list[str]:
        monkeypatch.setattr(choice_module, "gpu_memory", lambda gpus: [gib[int(gpu)] * GIB for gpu in gpus])
        return [str(index) for index in range(len(gib))]

    return install


def test_muster_run_asks_for_the_smallest_k(llava: Described, installed: Installed) -> None:
    chosen = choose_for_run(llava.checkpoint.name, installed(*8 * [40]), {})
    assert chosen is not None
    assert chosen.gpus_per_replica == 2
    assert "64.7 GiB of float16 weights" in chosen.because
    quantised = choose_for_run(llava.checkpoint.name, installed(*8 * [40]), {"load_in_4bit": True})
    assert quantised is not None
    assert quantised.gpus_per_replica == 1


def test_muster_run_refuses_only_what_is_sure_to_fail(llava: Described, installed: Installed) -> None:
    """The room that activations take is an estimate: a run that used to work must not be refused for it."""
    model = llava.checkpoint.name
    with pytest.raises(ConfigurationError, match=r"doesn't fit on 1 GPU\(s\) of 40.0 GiB.*What helps"):
        choose_for_run(model, installed(40), {})
    assert choose_for_run(model, installed(65), {}) is None  # 64.7 GiB of weights: nobody knows
    tight = choose_for_run(model, installed(33, 33), {})
    assert tight is not None
    assert tight.gpus_per_replica == 2
    assert "too little room" in tight.because
    assert (
        choose_for_run(model, installed(2, 80), {}) is None
    )  # a small card for the screen, beside a large one


def test_one_gpu_stays_one_where_only_the_largest_image_wants_more(
    tmp_path: Path, installed: Installed
) -> None:
    """Twice the GPUs for images that no task has, were half the replicas of what ran before."""
    processor = {"min_pixels": 3136, "max_pixels": 12_845_056}  # up to 16,386 tokens
    folder = write_model(tmp_path, QWEN2_5_VL_7B, qwen_tensors(QWEN2_5_VL_7B), processor=processor)
    largest = planned(describe(read_folder(folder)), Gpus(8, 20 * GIB), "device-map")
    assert largest.choice is not None
    assert largest.choice.gpus_per_replica > 1
    chosen = choose_for_run(str(folder), installed(*8 * [20]), {})
    assert chosen is not None
    assert chosen.gpus_per_replica == 1


def test_muster_run_goes_on_where_nothing_can_be_told(tmp_path: Path, installed: Installed) -> None:
    assert choose_for_run(str(tmp_path), [], {}) is None  # no GPUs
    gpu = installed(40)
    assert choose_for_run("owner/name", gpu, {}) is None
    assert choose_for_run(str(write_model(tmp_path / "bare", LLAVA_NEXT_34B)), gpu, {}) is None
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert choose_for_run(str(tmp_path), gpu, {}) is None


@pytest.mark.parametrize(
    "args",
    [
        {"device": "cuda:1"},
        {"device_map": "auto"},
        {"device_map": None},
        {"max_memory": {"0": "20GiB"}},
        {"quantization_config": {"load_in_4bit": True}},
    ],
)
def test_a_placement_of_the_users_own_is_left_alone(
    llava: Described, installed: Installed, args: dict[str, JSON]
) -> None:
    """All of these would be refused otherwise: the model is larger than the GPU."""
    assert choose_for_run(llava.checkpoint.name, installed(40), args) is None
