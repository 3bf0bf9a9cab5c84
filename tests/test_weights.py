"""All that a model folder holds of weights is loaded, or the folder is refused: before anything starts.

Guards against the base model evaluated under its adapter's name, half of a checkpoint beside half of another, and
random numbers in place of what is missing. With a real model and a real adapter, both tiny.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from muster.core import ConfigurationError
from muster.models.protocol import ModelSettings
from muster.models.transformers import TransformersModel
from muster.models.weights import check_weights, deciding_versions
from muster.results.fingerprint import model_fingerprint
from tiny_models import model_folder
from tiny_requests import answers, ask, noise, texts

ADAPTER = {"base_model_name_or_path": "somebody/base-7b", "peft_type": "LORA", "r": 2}


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder("llava", tmp_path_factory)


@pytest.fixture
def folder(llava: Path, tmp_path: Path) -> Path:
    shutil.copytree(llava, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="module")
def adapted(llava: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Full weights and an adapter that changes answers, in one folder."""
    peft = pytest.importorskip("peft")
    import torch
    from transformers import AutoModelForImageTextToText

    folder = tmp_path_factory.mktemp("adapted") / "model"
    shutil.copytree(llava, folder)
    torch.manual_seed(1)
    base = AutoModelForImageTextToText.from_pretrained(llava)
    model = peft.get_peft_model(
        base, peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    )
    model.save_pretrained(folder)
    return folder


def load(folder: Path, **args: Any) -> TransformersModel:
    return TransformersModel(ModelSettings(str(folder), args, batch_size=2))


def said(model: TransformersModel) -> dict[str, str]:
    return texts(answers(model, [ask(f"{i}", "what is it?", [noise(i)]) for i in range(3)]))


def without_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)


# -- adapters


def test_an_adapter_beside_the_weights_is_loaded(llava: Path, adapted: Path) -> None:
    model = load(adapted)
    assert said(model) != said(load(llava))
    assert model.notes["weights"].startswith("with its adapter (peft ")
    bare = load(adapted, adapter="off")
    assert said(bare) == said(load(llava))
    assert bare.notes["weights"] == "without its adapter"


def test_an_adapter_does_not_hide_that_the_weights_are_incomplete(adapted: Path, tmp_path: Path) -> None:
    """transformers reports of the adapter alone."""
    folder = tmp_path / "model"
    shutil.copytree(adapted, folder)
    drop(folder, "layers.1.mlp.up_proj")
    with pytest.raises(ConfigurationError, match="lack 1 of the model's parameters"):
        load(folder)


def test_an_adapter_of_another_model_is_refused(adapted: Path, tmp_path: Path) -> None:
    for change, message in (
        ({"layers.0": "layers.7"}, "lacks weights that its adapter_config.json asks for"),
        ({}, "holds weights that the model has no place for"),
    ):
        folder = tmp_path / str(len(change))
        shutil.copytree(adapted, folder)
        file = folder / "adapter_model.safetensors"
        tensors = load_file(file)
        if change:
            tensors = {name.replace("layers.0", "layers.7"): tensor for name, tensor in tensors.items()}
        else:
            name, tensor = next(iter(tensors.items()))
            tensors[name.replace("q_proj", "no_proj")] = tensor.clone()
        save_file(tensors, file)
        with pytest.raises(ConfigurationError, match=message):
            load(folder)


def test_an_adapter_in_a_folder_of_its_own_is_refused(folder: Path) -> None:
    """Phi-4-multimodal has its vision there; without it the answers are another model's."""
    (folder / "vision-lora").mkdir()
    add_adapter(folder / "vision-lora")
    said = r"holds an adapter in vision-lora/, which would be left"
    with pytest.raises(ConfigurationError, match=said):
        TransformersModel.check(ModelSettings(str(folder)))
    with pytest.raises(ConfigurationError, match=said):
        check_weights(folder)
    TransformersModel.check(ModelSettings(str(folder), {"adapter": "off"}))
    (folder / "vision-lora").rename(folder / "checkpoint-500")
    TransformersModel.check(ModelSettings(str(folder)))


def test_without_peft_an_adapter_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers alone would evaluate the base model; vLLM and models with code of their own do so anyway."""
    without_peft(monkeypatch)
    add_adapter(folder)
    with pytest.raises(ConfigurationError, match=r"without the package peft .* '\.\[peft\].*adapter=off"):
        TransformersModel.check(ModelSettings(str(folder)))
    TransformersModel.check(ModelSettings(str(folder), {"adapter": "off"}))
    with pytest.raises(ConfigurationError, match="this backend would leave out: merge it"):
        check_weights(folder)


def test_an_adapter_alone_names_its_base_and_what_to_do(folder: Path) -> None:
    add_adapter(folder)
    (folder / "model.safetensors").unlink()
    (folder / "training_args.bin").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"adapter of somebody/base-7b, .*merge_and_unload"):
        TransformersModel.check(ModelSettings(str(folder)))


@pytest.mark.parametrize(("file", "message"), [
    ("adapter_config.json", "without the adapter's weights"),
    ("adapter_model.safetensors", "without its adapter_config.json"),
    ("adapter_model.bin", "without its adapter_config.json"),
    ("non_lora_trainables.bin", "nobody would load: non_lora_trainables.bin"),
    ("non_lora_trainables.safetensors", "nobody would load: non_lora_trainables.safetensors"),
    ("pytorch_lora_weights.safetensors", "nobody would load: pytorch_lora_weights.safetensors"),
    ("adapters.safetensors", "nobody would load: adapters.safetensors"),
    ("mm_projector.bin", "nobody would load: mm_projector.bin"),
    ("__0_0.distcp", "nobody would load"),
])  # fmt: skip
def test_a_part_without_the_other_is_refused(folder: Path, file: str, message: str) -> None:
    (folder / file).write_text(json.dumps(ADAPTER))
    with pytest.raises(ConfigurationError, match=message):
        TransformersModel.check(ModelSettings(str(folder)))


# -- files


def shard(folder: Path) -> None:
    """The same weights in two files and an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, index = sorted(tensors), dict[str, str]()
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def test_shards_are_as_good_as_one_file(llava: Path, folder: Path) -> None:
    shard(folder)
    assert said(load(folder)) == said(load(llava))


def second_set(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    shard(folder)
    (folder / "model.safetensors").write_bytes(whole)


def lost_shard(folder: Path) -> None:
    shard(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def lost_shards(folder: Path) -> None:
    shard(folder)
    for file in folder.glob("model-*.safetensors"):
        file.unlink()


def stray_shard(folder: Path) -> None:
    shard(folder)
    shutil.copy(folder / "model-00001-of-00002.safetensors", folder / "model-00003-of-00003.safetensors")


def doubled_tensor(folder: Path) -> None:
    shard(folder)
    first, second = sorted(folder.glob("model-*.safetensors"))
    save_file(load_file(first) | load_file(second), second)


def pickled_shards(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (folder / "pytorch_model-00001-of-00002.bin").write_bytes(b"")


def pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text(
        "version https://git-lfs.example/spec/v1\noid sha256:1\nsize 9\n"
    )


@pytest.mark.parametrize(("harm", "message"), [
    (second_set, "two sets of weights"),
    (lost_shard, "lacks 1 of the 2 files that its index lists"),
    (lost_shards, "none of the files that it names"),
    (stray_shard, r"holds model-00003-of-00003\.safetensors, which would be left out"),
    (doubled_tensor, "one would hide the other"),
    (pickled_shards, "lacks 1 of the 2 files"),
    (pointer, "not a safetensors file"),
])  # fmt: skip
def test_half_a_checkpoint_is_refused(folder: Path, harm: Callable[[Path], None], message: str) -> None:
    harm(folder)
    with pytest.raises(ConfigurationError, match=f"can't be loaded: .*{message}"):
        TransformersModel.check(ModelSettings(str(folder)))


def test_another_format_beside_it_is_told(folder: Path) -> None:
    """As the hub's folders often have it; which one is loaded decides the scores if they aren't copies."""
    (folder / "pytorch_model.bin").write_bytes(b"")
    assert load(folder).notes["weights"] == "from safetensors; pytorch_model.bin is taken for a copy of it"
    both = model_fingerprint(str(folder), "transformers", {})
    assert (
        both["weights"]
        != model_fingerprint(str(folder), "transformers", {"use_safetensors": False})["weights"]
    )


# -- what is in them


def drop(folder: Path, part: str) -> None:
    change(folder, lambda tensors: tensors.pop(next(name for name in tensors if part in name)))


def change(folder: Path, harm: Callable[[dict[str, Any]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    harm(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_random_numbers_only_where_they_are_asked_for(folder: Path) -> None:
    drop(folder, "layers.1.mlp.up_proj")
    with pytest.raises(ConfigurationError, match=r"lack 1 of .*incomplete_weights=allow"):
        load(folder)
    assert "1 parameters are random" in load(folder, incomplete_weights="allow").notes["weights"]


def test_weights_of_another_shape_are_refused_however_loaded(folder: Path) -> None:
    """ignore_mismatched_sizes fills them with random numbers."""

    def cut(tensors: dict[str, Any]) -> None:
        name = next(name for name in tensors if "layers.1.mlp.up_proj" in name)
        tensors[name] = tensors[name][:8].clone()

    change(folder, cut)
    for args in ({}, {"ignore_mismatched_sizes": True}):
        with pytest.raises(ConfigurationError):
            load(folder, **args)


@pytest.mark.parametrize(
    "suffix", ["lora_A.weight", "lora_B.default.weight", "weight_scale", "qweight", "absmax"]
)
def test_tensors_that_change_others_are_not_passed_over(folder: Path, suffix: str) -> None:
    def add(tensors: dict[str, Any]) -> None:
        name = next(name for name in tensors if "layers.1.mlp.up_proj" in name)
        tensors[name.replace("weight", suffix)] = tensors[name].clone()

    change(folder, add)
    with pytest.raises(ConfigurationError, match="an adapter that was not merged, or quantised weights"):
        load(folder)


def test_tensors_of_nothing_are_told(folder: Path) -> None:
    change(folder, lambda tensors: tensors.update(extra_head=tensors[next(iter(tensors))].clone()))
    assert load(folder).notes["weights"] == "1 tensors are no part of the model (extra_head)"


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "compressed-tensors", "hqq", "nonsense"])
def test_quantised_weights_without_their_library_are_refused(folder: Path, method: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method, "bits": 4, "group_size": 8, "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigurationError, match="can't be loaded"):
        load(folder)


# -- the fingerprint


def add_adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps(ADAPTER))
    (folder / "adapter_model.safetensors").write_bytes(b"")


def test_what_decides_the_weights_is_compared_between_nodes(folder: Path) -> None:
    assert "libraries" not in model_fingerprint(str(folder), "transformers", {})
    assert deciding_versions(folder, {"load_in_4bit": True}).keys() == {"bitsandbytes", "transformers"}
    before = model_fingerprint(str(folder), "transformers", {})["weights"]
    add_adapter(folder)
    fingerprint = model_fingerprint(str(folder), "transformers", {})
    assert fingerprint["weights"] != before
    assert fingerprint["libraries"].keys() == {"peft", "transformers"}  # type: ignore[union-attr]
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    assert model_fingerprint(str(folder), "transformers", {})["weights"] not in (
        before,
        fingerprint["weights"],
    )


# -- pickled weights


class Anything:
    """No tensor: unpickling it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def test_pickled_weights_are_tensors_or_refused(llava: Path, folder: Path, tmp_path: Path) -> None:
    """Nothing in a pickle may run, whatever is asked for, and the message doesn't say how it could."""
    import torch

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert said(load(folder)) == said(load(llava))

    marker = tmp_path / "marker"
    torch.save({**weights, "more": Anything(marker)}, folder / "pytorch_model.bin")
    with pytest.raises(ConfigurationError, match="hold more than tensors") as refused:
        load(folder)
    assert "weights_only" not in str(refused.value)
    with pytest.raises(ConfigurationError, match="could run code"):
        load(folder, weights_only=False)
    assert not marker.exists()


def test_code_that_comes_with_a_model_runs_only_if_its_user_says_so(folder: Path, tmp_path: Path) -> None:
    """transformers' own words name an argument that the command line doesn't have."""
    marker = tmp_path / "marker"
    (folder / "own.py").write_text(f"import os\nos.mkdir({str(marker)!r})\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "strange_vl", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigurationError, match="then say --trust-remote-code"):
        load(folder)
    assert not marker.exists()
