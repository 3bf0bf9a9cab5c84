"""What is in a model folder, told from its configuration and the headers of its safetensors files.

A safetensors file starts with the length of its header (8 bytes, little endian) and the header itself: a JSON object
that names every tensor with its dtype, shape and place (https://huggingface.co/docs/safetensors, Format). So a few
hundred kilobytes tell what the gigabytes behind them are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec

from muster.core import JSON, ConfigurationError

HEADER_LIMIT = 100_000_000
"""Bytes; safetensors itself refuses longer headers."""

DTYPE_BITS: dict[str, int] = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6,
    "F6_E3M2": 6, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8,
    "C64": 64,
}  # fmt: skip
"""Bits of one element, by the names of the safetensors format."""

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")

Config = Mapping[str, JSON]
"""A parsed JSON object of a model folder."""


class Tensor(NamedTuple):
    """One stored tensor."""

    name: str
    dtype: str
    """As in the safetensors format: BF16, F32, I32 …"""
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size in bytes, as stored."""
        return self.elements * DTYPE_BITS[self.dtype] // 8

    @property
    def is_float(self) -> bool:
        """Whether it holds plain floating-point numbers of 16 bits or more."""
        return self.dtype in ("F64", "F32", "F16", "BF16")


Source = Literal["headers", "config"]
"""Where the tensors are known from: headers of weight files, or the configuration alone (`empty_model.py`)."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model as its files describe it."""

    name: str
    """The folder, or the hub id."""
    config: Config
    """config.json"""
    processor: Config
    """preprocessor_config.json, with what processor_config.json says of images over it; empty without them."""
    tensors: tuple[Tensor, ...]
    """None where only the configuration is there, until the model is built from it."""
    source: Source
    notes: tuple[str, ...] = ()
    """What the user should know about how it was read."""


Length = Annotated[int, msgspec.Meta(ge=0)]


class _Entry(msgspec.Struct):
    dtype: str
    shape: list[Length]
    data_offsets: tuple[Length, Length]


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


_HEADER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENTRY = msgspec.json.Decoder(_Entry)


def read_folder(folder: Path) -> Checkpoint:
    """What a folder's safetensors files hold; without tensors where it has none.

    Raises:
        ConfigurationError: no config.json, or files that are broken, cut or missing; says which.
    """
    config, processor = read_json(folder / "config.json"), read_processor(folder)
    files = weight_files(folder)
    if not files:
        return Checkpoint(str(folder), config, processor, (), "config", _other_weights(folder))
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors.update((tensor.name, tensor) for tensor in read_header(file))
    return Checkpoint(str(folder), config, processor, tuple(tensors.values()), "headers")


def _other_weights(folder: Path) -> tuple[str, ...]:
    if not next(folder.glob("pytorch_model*.bin"), None):
        return ()
    return (
        "its weights are pytorch_model.bin files, pickles that can't be looked into without running what is in them; "
        "save_pretrained of a current transformers writes safetensors",
    )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers would load: model.safetensors, else what the index lists.

    None where only the index is there: somebody fetched the small files, to plan.

    Raises:
        ConfigurationError: some of the files that the index lists aren't there.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    index = folder / INDEX
    if not index.is_file():
        return []
    try:
        shards = sorted(set(msgspec.json.decode(index.read_bytes(), type=_Index).weight_map.values()))
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{index} is not an index of safetensors files: {error}") from error
    outside = [name for name in shards if Path(name).name != name]
    if outside:
        raise ConfigurationError(f"{index} names a file outside its folder: {outside[0]}")
    missing = [name for name in shards if not (folder / name).is_file()]
    if len(missing) == len(shards):
        return []
    if missing:
        raise ConfigurationError(
            f"{folder} lacks {len(missing)} of the {len(shards)} files that its index lists ({missing[0]} …): "
            "download it again"
        )
    return [folder / name for name in shards]


def read_header(file: Path) -> list[Tensor]:
    """The tensors of one safetensors file, without reading their data.

    Raises:
        ConfigurationError: not a safetensors file, or one that ends before its data does.
    """
    header, data = _header(file)
    tensors, end = parse_header(header, str(file))
    _check_whole(file, data, end)
    return tensors


def read_names(file: Path) -> list[str]:
    """The names of the tensors of one safetensors file, whatever their types. Raises as `read_header` does."""
    header, data = _header(file)
    entries = _entries_of(header, str(file))
    _check_whole(file, data, _end(entries))
    return list(entries)


def _header(file: Path) -> tuple[bytes, int]:
    """The header of a file, and where its data begins."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(HEADER_LIMIT, size - 8):
            raise ConfigurationError(f"{file} is not a safetensors file (or a Git LFS pointer to one)")
        return stream.read(length), 8 + length


def _check_whole(file: Path, data: int, end: int) -> None:
    missing = data + end - file.stat().st_size
    if missing > 0:
        raise ConfigurationError(f"{file} is incomplete: {missing:,} bytes are missing, download it again")


def parse_header(header: bytes, origin: str) -> tuple[list[Tensor], int]:
    """The tensors that a header names, and the length of the data after it in bytes."""
    entries = _entries_of(header, origin)
    unknown = {entry.dtype for entry in entries.values()} - DTYPE_BITS.keys()
    if unknown:
        raise ConfigurationError(f"{origin} holds tensors of a type that isn't known here: {min(unknown)}")
    tensors = [Tensor(name, entry.dtype, tuple(entry.shape)) for name, entry in entries.items()]
    return tensors, _end(entries)


def _entries_of(header: bytes, origin: str) -> dict[str, _Entry]:
    try:
        return {name: _ENTRY.decode(raw) for name, raw in _entries(_HEADER.decode(header))}
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{origin} has a broken safetensors header: {error}") from error


def _end(entries: Mapping[str, _Entry]) -> int:
    """The length of the data in bytes."""
    return max((entry.data_offsets[1] for entry in entries.values()), default=0)


def _entries(header: Mapping[str, msgspec.Raw]) -> Iterable[tuple[str, msgspec.Raw]]:
    return ((name, raw) for name, raw in header.items() if name != "__metadata__")


def read_processor(folder: Path) -> Config:
    """What the folder says about how images are prepared."""
    files = [folder / name for name in PROCESSOR_FILES]
    return merge_processor([read_json(file) for file in files if file.is_file()])


def merge_processor(files: Iterable[Config]) -> Config:
    """Settings of the image processor and of the processor around it, in one; the later file wins.

    Newer checkpoints keep the image processor's settings inside processor_config.json.
    """
    merged: dict[str, JSON] = {}
    for settings in files:
        inner = settings.get("image_processor")
        merged.update(settings)
        merged.update(inner if isinstance(inner, dict) else {})
    return merged


def read_json(file: Path) -> Config:
    """A JSON object in a file. Raises `ConfigurationError` where there is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"{file.parent} is not a model folder: {file.name} is missing") from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot read {file}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{file} must hold a JSON object")
    return content
