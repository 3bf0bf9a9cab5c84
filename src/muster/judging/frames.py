"""What a run and its judge's process say to each other: MessagePack in frames, over a socket that both inherit."""

from __future__ import annotations

import socket
import struct
from typing import TypeAlias

import msgspec

from muster.core import Completion, Request
from muster.models.protocol import ModelSettings

_LENGTH = struct.Struct(">I")


class Setup(msgspec.Struct, tag=True, frozen=True):
    """Which model to load."""

    backend: str
    settings: ModelSettings


class Ask(msgspec.Struct, tag=True, frozen=True):
    """One question."""

    index: int
    request: Request


class Finish(msgspec.Struct, tag=True, frozen=True):
    """Finish what is being worked on, forget the rest, and end."""


class Ready(msgspec.Struct, tag=True, frozen=True):
    """The model is loaded."""


class Said(msgspec.Struct, tag=True, frozen=True):
    """One answer."""

    index: int
    completion: Completion


class Broken(msgspec.Struct, tag=True, frozen=True):
    """The judge can't go on, and another start wouldn't help."""

    message: str
    configuration: bool
    """Whether the user has to change something."""


ToJudge: TypeAlias = Setup | Ask | Finish
FromJudge: TypeAlias = Ready | Said | Broken

decode_to_judge = msgspec.msgpack.Decoder(ToJudge).decode
decode_from_judge = msgspec.msgpack.Decoder(FromJudge).decode


def send(connection: socket.socket, message: ToJudge | FromJudge) -> None:
    """Send one message. One thread at a time."""
    payload = msgspec.msgpack.encode(message)
    connection.sendall(_LENGTH.pack(len(payload)) + payload)


def receive(connection: socket.socket) -> bytes | None:
    """The next message, encoded; None where the other end is gone."""
    head = _exactly(connection, _LENGTH.size)
    return None if head is None else _exactly(connection, _LENGTH.unpack(head)[0])


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    content = bytearray()
    while len(content) < size:
        try:
            chunk = connection.recv(min(size - len(content), 1 << 20))
        except TimeoutError:
            raise
        except OSError:  # reset, or closed by another thread of this process
            return None
        if not chunk:
            return None
        content += chunk
    return bytes(content)
