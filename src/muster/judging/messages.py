"""What a run and its judge's process say to each other: frames without a payload, over a socket that both inherit."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from muster.core import Completion, Request
from muster.models.protocol import ModelSettings


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
