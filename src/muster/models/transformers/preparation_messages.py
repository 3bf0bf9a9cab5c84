"""What a replica and its preparation process say to each other: frames whose payload is raw tensor bytes."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from muster.core import Completion, Request
from muster.core.framing import receive_header, receive_into, send_frame
from muster.models.transformers.options import VideoForm
from muster.models.transformers.preparation import Batch, Prepared, Row

if TYPE_CHECKING:
    import torch

ALIGNMENT = 64
"""Bytes; each tensor begins at a multiple of it, so that it can be used where it arrived."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The first frame: which processor to load."""

    folder: str
    processor: dict[str, Any]
    chat_template: str | None
    template_settings: dict[str, Any]
    trust_remote_code: bool
    videos: VideoForm = "auto"


@dataclass(frozen=True, slots=True)
class Work:
    """Requests to prepare together."""

    requests: list[Request]
    context_limit: int | None


class StoredTensor(NamedTuple):
    """A tensor in a payload."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int
    """Bytes."""


class StoredBatch(NamedTuple):
    """A batch without its tensors' contents."""

    rows: tuple[int, ...]
    """Which of the requests, by their place in `Work`."""
    prompt_tokens: tuple[int, ...]
    tensors: tuple[StoredTensor, ...]
    notes: tuple[str | None, ...]
    """Per row."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to `Work`; with `refused`, the requests have to be prepared elsewhere."""

    batches: tuple[StoredBatch, ...] = ()
    failures: tuple[Completion, ...] = ()
    refused: str | None = None


READY = Reply()
"""What the process says once its processor is loaded."""


def send_prepared(connection: socket.socket, prepared: Prepared, requests: Sequence[Request]) -> None:
    """Send what became of requests."""
    places = {id(request): place for place, request in enumerate(requests)}
    parts: list[memoryview | bytes] = []
    end = 0
    batches: list[StoredBatch] = []
    for batch in prepared.batches:
        tensors: list[StoredTensor] = []
        for name, tensor in batch.inputs.items():
            content = _bytes_of(tensor)
            padding = -end % ALIGNMENT
            parts += [bytes(padding), content]
            tensors.append(
                StoredTensor(name, _name(tensor.dtype), tuple(tensor.shape), end + padding, len(content))
            )
            end += padding + len(content)
        rows = tuple(places[id(row.request)] for row in batch.rows)
        notes = tuple(row.note for row in batch.rows)
        batches.append(StoredBatch(rows, batch.prompt_tokens, tuple(tensors), notes))
    send_frame(connection, Reply(tuple(batches), prepared.failures), [part for part in parts if part])


def receive_prepared(
    connection: socket.socket, requests: Sequence[Request], *, pin_memory: bool
) -> Prepared | None:
    """What became of requests; None where the other end refused them. Raises `EOFError` or `OSError`."""
    import torch

    header, size = receive_header(connection)
    reply = msgspec.msgpack.decode(header, type=Reply)
    buffer = torch.empty(size, dtype=torch.uint8, pin_memory=pin_memory)
    receive_into(connection, buffer.numpy().data)
    if reply.refused is not None:
        return None
    batches = tuple(
        Batch(
            tuple(
                Row(requests[place], note=note) for place, note in zip(batch.rows, batch.notes, strict=True)
            ),
            {tensor.name: _tensor(buffer, tensor) for tensor in batch.tensors},
            batch.prompt_tokens,
        )
        for batch in reply.batches
    )
    return Prepared(batches, reply.failures)


def _tensor(buffer: torch.Tensor, stored: StoredTensor) -> torch.Tensor:
    import torch

    content = buffer[stored.offset : stored.offset + stored.size]
    return content.view(getattr(torch, stored.dtype)).reshape(stored.shape)


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
