"""One process, several devices: what is asked for reaches accelerate, and other tools' spellings are understood.

Real accelerate, with layers in memory and on disk; several GPUs are stood in for by what accelerate says of them.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from muster.config import load_config
from muster.core import JSON, ConfigurationError
from muster.models.protocol import ModelSettings
from muster.models.transformers import TransformersModel
from muster.models.transformers.elsewhere import MEANINGS
from muster.models.transformers.loading import _computing_devices, _placement
from muster.models.transformers.options import check_settings, parse_options
from tiny_models import model_folder
from tiny_requests import answers, ask, noise, texts

LAYERS = "model.language_model."
REQUESTS = [ask(f"{index}", "what?" * (1 + index % 3), [noise(index)]) for index in range(6)]


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder("llava", tmp_path_factory)


@pytest.fixture(scope="module")
def expected(llava: Path) -> dict[str, str]:
    return texts(answers(TransformersModel(ModelSettings(str(llava), batch_size=3)), REQUESTS))


@pytest.mark.parametrize(
    ("placement", "places"),
    [
        ({"device_map": "auto"}, set()),
        ({"device_map": "auto", "max_memory": {"cpu": "60KB"}}, {"disk"}),
        ({"device_map": "sequential", "max_memory": {"cpu": "150KB"}}, {"cpu", "disk"}),
        (
            {
                "device_map": {
                    "model.vision_tower": "cpu",
                    "model.multi_modal_projector": "cpu",
                    f"{LAYERS}embed_tokens": "cpu",
                    f"{LAYERS}layers.0": "disk",
                    f"{LAYERS}layers.1": "cpu",
                    f"{LAYERS}norm": "cpu",
                    f"{LAYERS}rotary_emb": "cpu",
                    "lm_head": "disk",
                }
            },
            {"cpu", "disk"},
        ),
    ],
    ids=["auto", "all on disk", "memory is full", "explicit"],
)
def test_layers_on_disk_give_the_same_answers(
    llava: Path, tmp_path: Path, expected: dict[str, str], placement: dict[str, JSON], places: set[str]
) -> None:
    args: dict[str, JSON] = {**placement, "offload_folder": str(tmp_path)}
    if places == {"disk"} and tuple(map(int, version("accelerate").split(".")[:2])) < (1, 15):
        with pytest.raises(ConfigurationError, match="offload the whole model to the disk"):
            TransformersModel(ModelSettings(str(llava), args, batch_size=3, gpus_per_replica=2))
        return
    model = TransformersModel(ModelSettings(str(llava), args, batch_size=3, gpus_per_replica=2))
    assert texts(answers(model, REQUESTS)) == expected
    assert model._loaded.devices == (torch.device("cpu"),)
    assert set(getattr(model._loaded.model, "hf_device_map", {}).values()) == places


def test_inputs_go_to_the_first_device_that_computes() -> None:
    """Layers that rest in the host's memory are computed on the first GPU, where the inputs are wanted then."""
    spread = SimpleNamespace(hf_device_map={"vision": "cpu", "layers.0": 0, "layers.1": 1, "head": "disk"})
    assert _computing_devices(spread) == (torch.device("cuda", 0), torch.device("cuda", 1))
    alone = SimpleNamespace(device=torch.device("cuda", 3))
    assert _computing_devices(alone) == (torch.device("cuda", 3),)


def test_several_gpus_are_used_without_being_told() -> None:
    gpu, plain = torch.device("cuda"), parse_options({})
    assert _placement(plain, gpu, 2) == {"device_map": "auto"}
    assert _placement(plain, gpu, 1) == {"device_map": {"": "cuda"}}
    assert _placement(parse_options({"device_map": "balanced"}), gpu, 2) == {"device_map": "balanced"}
    assert _placement(plain, torch.device("cpu"), 2) == {}


def test_devices_that_json_can_only_name_as_texts() -> None:
    options = parse_options(
        {"device_map": {"a": "0", "b": 1, "c": "disk"}, "max_memory": {"0": "20GiB", "cpu": "9GB"}}
    )
    assert options.device_map == {"a": 0, "b": 1, "c": "disk"}
    assert options.model["max_memory"] == {0: "20GiB", "cpu": "9GB"}
    with pytest.raises(ConfigurationError, match="expected a limit per device"):
        parse_options({"max_memory": "20GiB"})


@pytest.mark.parametrize(
    ("args", "parallelism", "message"),
    [
        ({"device_map": "auto"}, "tensor", "device_map: --parallelism tensor puts"),
        ({"max_memory": {"0": "1GB"}}, "tensor", "max_memory: --parallelism tensor puts"),
        ({"tp_plan": "auto"}, "device-map", "write --gpus-per-replica K --parallelism tensor"),
        ({"device": "cuda:1"}, "device-map", "is one device, and --gpus-per-replica 2 asks for several"),
        ({"device": "cuda:1", "device_map": "auto"}, "device-map", "either device or device_map"),
    ],
)
def test_contradictions_are_found_before_anything_starts(
    args: dict[str, JSON], parallelism: str, message: str
) -> None:
    tensor = parallelism == "tensor"
    settings = ModelSettings("m", args, gpus_per_replica=2, parallelism="tensor" if tensor else "device-map")
    with pytest.raises(ConfigurationError, match=message):
        check_settings(settings)


def test_lmms_evals_command_line() -> None:
    """`--model llava_hf --model_args pretrained=…`: the class that loads a model is not the user's to name here."""
    config = load_config(
        {"model": "llava_hf", "tasks": "t", "model_args": "pretrained=owner/name,device_map=auto"}, env={}
    )
    assert (config.model, config.backend) == ("owner/name", "transformers")
    assert config.model_args == {"device_map": "auto"}
    assert load_config({"tasks": "t", "model_args": "pretrained=a/b"}, env={}).model == "a/b"
    with pytest.raises(ConfigurationError, match="name two models"):
        load_config({"model": "c/d", "tasks": "t", "model_args": "pretrained=a/b"}, env={})


def test_internvls_auto() -> None:
    config = load_config({"model": "m", "tasks": "t", "auto": True, "model_args": "dtype=bfloat16"}, env={})
    assert config.model_args == {"dtype": "bfloat16", "device_map": "auto"}
    assert load_config({"model": "m", "tasks": "t", "auto": False}, env={}).model_args == {}
    with pytest.raises(ConfigurationError, match="--auto is device_map=auto"):
        load_config({"model": "m", "tasks": "t", "auto": True, "model_args": "device_map=balanced"}, env={})


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("conv_template", "chat_template=FILE"),
        ("max_frames_num", "frames of a video"),
        ("use_flash_attention_2", "attn_implementation=flash_attention_2"),
        ("num_processes", "--replicas N"),
        ("parallelize", "--gpus-per-replica K"),
        ("tensor_parallel_size", "--parallelism tensor"),
        ("batch_size", "--batch-size N"),
    ],
)
def test_arguments_without_a_meaning_here_are_explained(name: str, advice: str) -> None:
    with pytest.raises(ConfigurationError, match="mean nothing here") as caught:
        parse_options({name: "x", "dtype": "bfloat16"})
    assert f"{name}: " in str(caught.value)
    assert advice in str(caught.value)


def test_all_of_them_are_told_at_once_and_the_others_pass() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_options(dict.fromkeys(MEANINGS, "x"))
    assert all(f"  {name}: " in str(caught.value) for name in MEANINGS)
    passing: dict[str, JSON] = {"attn_implementation": "sdpa", "use_cache": True, "max_pixels": 9}
    assert parse_options(passing).model == {"attn_implementation": "sdpa", "use_cache": True}
