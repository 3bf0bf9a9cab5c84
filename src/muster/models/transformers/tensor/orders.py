"""What the members of a replica say to each other beside their collectives, in the frames of `frames`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from muster.core import Generation, RequestKey
from muster.models.transformers.device_errors import DeviceError


@dataclass(frozen=True, slots=True)
class Setup:
    """The first frame to a follower: what to load, and where the members meet."""

    folder: str
    args: dict[str, Any]
    """`--model-args`."""
    trust_remote_code: bool
    position: int
    """Among the members; the first is 0."""
    size: int
    port: int
    """Of the store on the loopback."""
    timeout: float
    """Seconds that a collective may take."""


class TensorShape(NamedTuple):
    """A tensor that will be broadcast."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """One batch to generate together: all of it but the tensors' contents, which are broadcast."""

    rows: list[tuple[RequestKey, Generation]]
    prompt_tokens: tuple[int, ...]
    tensors: list[TensorShape]


@dataclass(frozen=True, slots=True)
class Report:
    """A follower's answer to `Setup` and to every `Order`."""

    error: DeviceError | None = None
    message: str = ""
    configuration: bool = False
    """Whether the error says that what was asked for can't be done."""
    collectives: int = 0
    """How many it has begun so far: members are in step when they have begun equally many."""
    room_for_twice: bool = False
    """Whether its device has memory for a batch of twice the size."""
