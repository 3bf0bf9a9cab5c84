"""Parameters counted from headers and configurations, against the models that transformers builds.

Guards against a plan that is off by a tied embedding, a buffer that is no parameter, a piece that tensor parallelism
doesn't cut, or a family whose tensors have other names: each is gigabytes, and shows only on the cluster.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from muster.sizing.architecture import read_architecture
from muster.sizing.checkpoint import Checkpoint, Tensor, read_folder
from muster.sizing.demand import assumed_demand
from muster.sizing.fit import _mapped_weights
from muster.sizing.image_grids import ImageSize
from muster.sizing.parameters import Parameters, count_parameters
from muster.sizing.plan import describe, make_plan
from sizing_models import CONFIGS, LLAVA_NEXT_34B, build_empty, llava_next_34b_tensors, shapes_of, write_model
from tiny_models import FAMILIES, model_folder

PUBLISHED = {"llava-1.5-7b": 7.06, "llava-v1.6-34b": 34.8, "qwen2-vl-7b": 8.29, "qwen2.5-vl-3b": 3.75,
             "qwen2.5-vl-7b": 8.29, "qwen2.5-vl-72b": 73.4, "qwen3-vl-8b": 8.77, "qwen3-vl-30b-a3b": 31.1,
             "internvl3-8b": 7.94, "internvl3-78b": 78.4, "idefics3-8b": 8.46, "smolvlm": 2.25, "paligemma-3b": 2.92,
             "gemma3-27b": 27.4}  # fmt: skip
"""Billions, as their pages on the hub say."""


@functools.cache
def empty(name: str) -> Any:
    return build_empty(CONFIGS[name])


def counted(folder: Path, dtype: Any = "auto") -> Parameters:
    checkpoint = read_folder(folder)
    return count_parameters(checkpoint, read_architecture(checkpoint.config), dtype)


@pytest.mark.parametrize("name", CONFIGS)
def test_real_sizes_agree_with_transformers_and_with_the_hub(name: str, tmp_path: Path) -> None:
    model = empty(name)
    folder = write_model(tmp_path, CONFIGS[name], shapes_of(model.named_parameters()), shards=3)
    parameters = counted(folder, "bfloat16")
    assert parameters.total == sum(parameter.numel() for parameter in model.parameters())
    assert parameters.loaded_bytes == parameters.stored_bytes == 2 * parameters.total
    assert parameters.total / 1e9 == pytest.approx(PUBLISHED[name], rel=0.005)
    vision = sum(p.numel() for n, p in model.named_parameters() if ".vision" in n or ".visual." in n)
    assert parameters.of("vision") <= vision  # Qwen's visual holds its projector, the merger
    assert parameters.of("vision") + parameters.of("projector") >= vision
    embedding = model.get_input_embeddings().weight.numel()
    untied = model.get_output_embeddings().weight is not model.get_input_embeddings().weight
    assert parameters.of("embedding") == embedding * (1 + untied)


def test_the_names_on_the_hub_count_as_those_of_today(tmp_path: Path) -> None:
    """The 34B checkpoint was saved years ago, with other names than the class has now."""
    parameters = counted(write_model(tmp_path, LLAVA_NEXT_34B, llava_next_34b_tensors(), shards=15))
    assert parameters.total == sum(parameter.numel() for parameter in empty("llava-v1.6-34b").parameters())
    assert parameters.dtype == "float16"
    assert {part: round(parameters.of(part) / 1e9, 2) for part in ("vision", "projector", "language", "embedding")} == {
        "vision": 0.3, "projector": 0.06, "language": 33.47, "embedding": 0.92,
    }  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_checkpoints_agree_with_the_models_that_load_from_them(
    family: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Real files, written by save_pretrained, with all that it leaves out (tied weights) or renames."""
    import transformers

    folder = model_folder(family, tmp_path_factory)
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype="bfloat16")
    parameters = counted(folder, "bfloat16")
    assert parameters.total == sum(parameter.numel() for parameter in model.parameters())
    assert parameters.loaded_bytes == sum(p.numel() * p.element_size() for p in model.parameters())
    assert parameters.stored_bytes == 2 * parameters.loaded_bytes  # saved in float32
    assert counted(folder).dtype == "float32"


def test_stored_copies_of_tied_weights_and_old_buffers_are_no_parameters() -> None:
    config = {**CONFIGS["qwen2.5-vl-3b"]}
    shapes = shapes_of(empty("qwen2.5-vl-3b").named_parameters())
    total = sum(parameter.numel() for parameter in empty("qwen2.5-vl-3b").parameters())
    extra = {
        "lm_head.weight": (151936, 2048), "model.layers.0.self_attn.rotary_emb.inv_freq": (64,),
        "visual.embeddings.position_ids": (1, 577),
    }  # fmt: skip
    tensors = tuple(Tensor(name, "BF16", shape) for name, shape in {**shapes, **extra}.items())
    for tied, expected in ((True, total), (False, total + 151936 * 2048)):
        checkpoint = Checkpoint("x", {**config, "tie_word_embeddings": tied}, {}, tensors, "headers")
        assert count_parameters(checkpoint, read_architecture(checkpoint.config)).total == expected


@contextlib.contextmanager
def group_of(size: int) -> Iterator[Any]:
    """A process group of `size` ranks of which only this one exists: DTensor computes real shares in it."""
    import torch.distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    torch.distributed.init_process_group("fake", rank=0, world_size=size, store=FakeStore())
    try:
        yield init_device_mesh("cpu", (size,))
    finally:
        torch.distributed.destroy_process_group()


def share_of_rank_0(config: dict[str, Any], gpus: int) -> int:
    """Elements that the first rank holds when transformers itself has applied its tensor-parallel plan."""
    from torch.distributed.tensor import DTensor
    from transformers import initialization
    from transformers.distributed.configuration_utils import DistributedConfig
    from transformers.distributed.tensor_parallel import apply_tensor_parallelism

    with initialization.no_tie_weights():
        model = build_empty(config)
    before_5_20 = tuple(map(int, version("transformers").split(".")[:2])) < (5, 20)
    plan: tuple[Any, ...] = ()  # transformers 5.17 takes the model's own
    if hasattr(model, "_resolve_parallel_plans"):
        plan = model._resolve_parallel_plans(DistributedConfig(tp_size=gpus))[:1]
    with group_of(gpus) as mesh:
        apply_tensor_parallelism(model, mesh, *plan)
        model.tie_weights()
        held = 0
        for name, parameter in model.named_parameters():
            if isinstance(parameter, DTensor):
                held += parameter.to_local().numel()
            elif before_5_20 and name.endswith(("embed_tokens.weight", "lm_head.weight")):
                held += math.ceil(parameter.shape[0] / gpus) * parameter.shape[1]  # whole there, cut later
            elif before_5_20 and ".mlp.experts." in name:
                held += parameter.numel() // gpus  # as are a Qwen3-VL-MoE's experts
            else:
                held += parameter.numel()
        return held


@pytest.mark.parametrize("name", CONFIGS)
def test_what_tensor_parallelism_cuts_is_what_transformers_cuts(name: str, tmp_path: Path) -> None:
    heads = read_architecture(CONFIGS[name]).text
    parameters = counted(write_model(tmp_path, CONFIGS[name], shapes_of(empty(name).named_parameters())))
    each = DTYPE_BYTES_OF[parameters.dtype]
    gpus = max(k for k in (1, 2, 4, 8) if heads.heads % k == 0 and heads.kv_heads % k == 0)
    if heads.has_tensor_plan and gpus > 1:
        assert parameters.sharded_bytes(gpus) == each * share_of_rank_0(CONFIGS[name], gpus)
    assert parameters.sharded_bytes(1) == parameters.loaded_bytes
    whole = parameters.replicated_bytes
    assert parameters.of("vision") * each <= whole < parameters.loaded_bytes / 4


DTYPE_BYTES_OF = {"float16": 2, "bfloat16": 2, "float32": 4}


@pytest.mark.parametrize("name", ["llava-v1.6-34b", "qwen2.5-vl-72b", "qwen2.5-vl-3b", "internvl3-8b"])
def test_no_gpu_of_a_device_map_holds_more_than_planned(name: str, tmp_path: Path) -> None:
    from transformers.integrations.accelerate import (
        compute_module_sizes,
        get_balanced_memory,
        infer_auto_device_map,
    )

    model = empty(name)
    parameters = counted(
        write_model(tmp_path, CONFIGS[name], shapes_of(model.named_parameters())), "bfloat16"
    )
    sizes = compute_module_sizes(model, None)[0]
    for gpus in (2, 3, 4, 8):
        memory: dict[int | str, int | str] = dict.fromkeys(range(gpus), 2 * parameters.loaded_bytes)
        balanced = get_balanced_memory(
            model, max_memory=memory, no_split_module_classes=model._no_split_modules
        )
        placed = infer_auto_device_map(
            model, max_memory=balanced, no_split_module_classes=model._no_split_modules
        )
        fullest = max(
            sum(sizes[module] for module, device in placed.items() if device == gpu) for gpu in range(gpus)
        )
        planned = _mapped_weights(parameters, gpus)
        assert fullest <= planned
        assert planned - fullest <= 2.5 * parameters.largest_block()


def test_dtypes_decide_the_bytes(tmp_path: Path) -> None:
    folder = write_model(tmp_path, LLAVA_NEXT_34B, llava_next_34b_tensors())
    gib = {
        dtype: counted(folder, dtype).loaded_bytes / 2**30
        for dtype in ("float32", "bfloat16", "int8", "int4")
    }
    assert gib["float32"] == 2 * gib["bfloat16"] == pytest.approx(129.46, abs=0.01)
    assert gib["int8"] == pytest.approx(33.2, abs=0.1)  # the embeddings stay in 16 bits
    assert gib["int4"] == pytest.approx(19.4, abs=0.3)


TABLE = {
    "LLaVA-1.5 7B": "llava-1.5-7b", "LLaVA-NeXT 34B": "llava-v1.6-34b", "Qwen2-VL 7B": "qwen2-vl-7b",
    "Qwen2.5-VL 3B": "qwen2.5-vl-3b", "Qwen2.5-VL 7B": "qwen2.5-vl-7b", "Qwen2.5-VL 72B": "qwen2.5-vl-72b",
    "Qwen3-VL 8B": "qwen3-vl-8b", "Qwen3-VL 30B-A3B": "qwen3-vl-30b-a3b", "InternVL3 8B": "internvl3-8b",
    "InternVL3 78B": "internvl3-78b", "Idefics3 8B": "idefics3-8b", "SmolVLM 2.2B": "smolvlm",
    "PaliGemma 3B": "paligemma-3b", "Gemma 3 27B": "gemma3-27b",
}  # fmt: skip


def test_the_table_in_the_guide_is_what_the_planner_says(tmp_path: Path) -> None:
    guide = (Path(__file__).parent.parent / "docs" / "large-models.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in guide.splitlines()
        if " GiB | " in line
    ]
    assert {row[0] for row in rows} == set(TABLE)
    for title, weights, heads, divisors, *gpus in rows:
        name = TABLE[title]
        folder = write_model(tmp_path / name, CONFIGS[name], shapes_of(empty(name).named_parameters()))
        model = describe(read_folder(folder), "bfloat16")
        limit = model.architecture.text.context
        plan = make_plan(model, assumed_demand(model.rule, image=ImageSize(1280, 960), limit=limit), None)
        choices = [str(choice.gpus_per_replica) if choice else "–" for choice in plan.elsewhere.values()]
        said = plan.model
        planned = [f"{said.loaded / 2**30:.1f} GiB", f"{said.heads}, {said.kv_heads}"]
        planned += [", ".join(map(str, said.divisors)), *choices]
        assert [weights, heads, divisors, *gpus] == planned, title
