"""What is in a model folder, told from its headers.

Guards against folders as they really are: a download that broke off, pointers in place of weights, an index whose files
are elsewhere, weights in the old pickle format, weights that are quantised, or no weights at all.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.core import ConfigurationError
from muster.sizing import empty_model
from muster.sizing.architecture import read_architecture
from muster.sizing.checkpoint import parse_header, read_folder, read_header
from muster.sizing.empty_model import with_tensors
from muster.sizing.parameters import count_parameters
from muster.sizing.plan import describe
from sizing_models import LLAVA_NEXT_34B, Shapes, write_model, write_safetensors

SHAPES: Shapes = {
    "language_model.model.layers.0.mlp.up_proj.weight": (20, 10),
    "vision_tower.x.weight": (3, 2),
}


def test_headers_are_those_that_safetensors_writes(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    arrays: dict[str, np.ndarray[Any, Any]] = {
        "a": np.zeros((2, 3), np.float16),
        "b.c": np.zeros((), np.float32),
        "d": np.zeros((0, 4), np.int32),
    }
    save_file(arrays, tmp_path / "x.safetensors", metadata={"format": "np"})
    read = {tensor.name: tensor for tensor in read_header(tmp_path / "x.safetensors")}
    assert {name: (tensor.shape, tensor.bytes) for name, tensor in read.items()} == {
        name: (array.shape, array.nbytes) for name, array in arrays.items()
    }
    assert not read["d"].is_float


def test_a_file_that_broke_off_says_how_much_is_missing(tmp_path: Path) -> None:
    write_model(tmp_path, LLAVA_NEXT_34B, SHAPES)
    file = tmp_path / "model.safetensors"
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size - 7)
    with pytest.raises(ConfigurationError, match="is incomplete: 7 bytes are missing"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"\x01", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", b"\xff" * 64]
)
def test_what_is_no_safetensors_file_is_refused(content: bytes, tmp_path: Path) -> None:
    write_model(tmp_path, LLAVA_NEXT_34B)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ConfigurationError, match="not a safetensors file"):
        read_folder(tmp_path)


@given(
    st.one_of(
        st.binary(max_size=200), st.text(max_size=80).map(str.encode), st.just(b'{"a": {"dtype": "F32"}}')
    )
)
def test_no_header_gets_through_or_breaks_the_reader(header: bytes) -> None:
    try:
        tensors, end = parse_header(header, "it")
    except ConfigurationError:
        return
    assert not tensors
    assert end == 0


def test_an_unknown_type_is_named() -> None:
    header = json.dumps({"a": {"dtype": "Q7", "shape": [1], "data_offsets": [0, 1]}}).encode()
    with pytest.raises(ConfigurationError, match="Q7"):
        parse_header(header, "it")


def test_an_index_without_some_of_its_files_names_one(tmp_path: Path) -> None:
    write_model(tmp_path, LLAVA_NEXT_34B, SHAPES, shards=2)
    assert len(read_folder(tmp_path).tensors) == 2
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ConfigurationError, match=r"lacks 1 of the 2 files.*00002-of-00002"):
        read_folder(tmp_path)
    (tmp_path / "model-00001-of-00002.safetensors").unlink()  # somebody fetched the small files only
    assert read_folder(tmp_path).source == "config"


def test_an_index_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "secret.safetensors", SHAPES)
    folder = write_model(tmp_path / "model", LLAVA_NEXT_34B)
    index = {"weight_map": {"a": "../secret.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="outside its folder"):
        read_folder(folder)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (None, "", "config.json is missing"),
        ("config.json", "{", "cannot read"),
        ("config.json", "[]", "a JSON object"),
    ],
)
def test_a_folder_without_a_configuration(
    tmp_path: Path, file: str | None, content: str, message: str
) -> None:
    if file:
        (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message):
        read_folder(tmp_path)


SMALL_LLAVA: dict[str, Any] = {
    **LLAVA_NEXT_34B,
    "text_config": {**LLAVA_NEXT_34B["text_config"], "num_hidden_layers": 2},
}


def test_pickles_are_explained_and_the_configuration_tells_the_parameters(tmp_path: Path) -> None:
    """Built by transformers in a process of its own: exact, without weights."""
    folder = write_model(tmp_path, SMALL_LLAVA)
    (folder / "pytorch_model-00001-of-00002.bin").write_bytes(b"\x80")
    checkpoint = with_tensors(read_folder(folder))
    assert checkpoint.source == "config"
    assert "pytorch_model.bin" in checkpoint.notes[0]
    assert "without its weights" in checkpoint.notes[1]
    one_layer = 2 * 7168 * 7168 + 2 * 1024 * 7168 + 3 * 20480 * 7168 + 2 * 7168
    parameters = count_parameters(checkpoint, read_architecture(checkpoint.config))
    assert parameters.total == 34_752_083_968 - 58 * one_layer
    assert parameters.loaded_bytes == 2 * parameters.total


def test_a_configuration_that_transformers_does_not_know_says_so(tmp_path: Path) -> None:
    folder = write_model(tmp_path, {**SMALL_LLAVA, "model_type": "newthing"})
    with pytest.raises(SystemExit, match="newthing"):
        empty_model.main(str(folder))


def test_what_the_process_says_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_model(tmp_path, SMALL_LLAVA)
    monkeypatch.setattr(empty_model, "TIME_LIMIT", 0.01)
    with pytest.raises(ConfigurationError, match=r"from its config\.json in 0 s"):
        with_tensors(read_folder(folder))
    (tmp_path / "python").write_text(
        "#!/bin/sh\necho warning >&2\necho it cannot be >&2\nexit 1\n", encoding="utf-8"
    )
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(empty_model, "TIME_LIMIT", 60)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ConfigurationError, match=r"config\.json alone: it cannot be"):
        with_tensors(read_folder(folder))


LINEAR = "model.layers.0.mlp.up_proj"
NF4 = "quant_state.bitsandbytes__nf4"
EMBEDDING: Shapes = {"model.embed_tokens.weight": (50, 8)}
QUANTISED: dict[str, tuple[dict[str, Any], Shapes, dict[str, str]]] = {
    "awq": (
        {"quant_method": "awq", "bits": 4, "group_size": 4},
        {f"{LINEAR}.qweight": (8, 2), f"{LINEAR}.qzeros": (2, 2), f"{LINEAR}.scales": (2, 16)},
        {f"{LINEAR}.qweight": "I32", f"{LINEAR}.qzeros": "I32", f"{LINEAR}.scales": "F16"},
    ),
    "gptq": (
        {"quant_method": "gptq", "bits": 4},
        {f"{LINEAR}.qweight": (1, 16), f"{LINEAR}.g_idx": (8,), f"{LINEAR}.scales": (1, 16)},
        {f"{LINEAR}.qweight": "I32", f"{LINEAR}.g_idx": "I32", f"{LINEAR}.scales": "F16"},
    ),
    "bitsandbytes": (
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {f"{LINEAR}.weight": (64, 1), f"{LINEAR}.weight.absmax": (2,), f"{LINEAR}.weight.{NF4}": (90,)},
        {f"{LINEAR}.weight": "U8", f"{LINEAR}.weight.absmax": "F32", f"{LINEAR}.weight.{NF4}": "U8"},
    ),
    "fp8": (
        {"quant_method": "fp8"},
        {f"{LINEAR}.weight": (16, 8), f"{LINEAR}.weight_scale_inv": (1, 1)},
        {f"{LINEAR}.weight": "F8_E4M3", f"{LINEAR}.weight_scale_inv": "F32"},
    ),
    "compressed-tensors": (
        {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4}}}},
        {f"{LINEAR}.weight_packed": (16, 1), f"{LINEAR}.weight_scale": (16, 1), f"{LINEAR}.weight_shape": (2,)},
        {f"{LINEAR}.weight_packed": "I32", f"{LINEAR}.weight_scale": "BF16", f"{LINEAR}.weight_shape": "I64"},
    ),
}  # fmt: skip
"""One linear layer of 8 × 16, as each tool stores it, beside an embedding of 50 × 8 in 16 bits."""


@pytest.mark.parametrize("method", QUANTISED)
def test_quantised_checkpoints_are_counted_unpacked(method: str, tmp_path: Path) -> None:
    settings, shapes, dtypes = QUANTISED[method]
    config = {**LLAVA_NEXT_34B, "quantization_config": settings}
    types = {**dtypes, **dict.fromkeys(EMBEDDING, "F16")}
    model = describe(read_folder(write_model(tmp_path, config, {**shapes, **EMBEDDING}, dtype=types)))
    assert model.parameters.total == 8 * 16 + 50 * 8
    assert model.parameters.quantization is not None
    assert model.parameters.quantization.method == method
    assert model.parameters.loaded_bytes == model.parameters.stored_bytes < 4 * model.parameters.total
    assert method in model.parameters.dtype
    with pytest.raises(ConfigurationError, match="quantised already"):
        describe(model.checkpoint, "int8")
