"""What came back for a request: a text, or a failure of a named kind."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Self

from muster.core.errors import FailureKind, RequestError
from muster.core.request import RequestKey
from muster.core.text import valid_text


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, where the backend knows them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request has no answer."""

    kind: FailureKind
    type: str
    """Name of the exception's class, or of the event (`WorkerLost`)."""
    message: str
    traceback: str | None = None

    @classmethod
    def from_exception(cls, error: BaseException) -> Self:
        """The failure an exception stands for; what is not a `RequestError` is the sample's own fault."""
        kind = error.kind if isinstance(error, RequestError) else "sample"
        frames = "".join(traceback.format_exception(error))
        return cls(
            kind, type(error).__name__, valid_text(str(error)) or type(error).__name__, valid_text(frames)
        )


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer to one request. Exactly one of `text` and `failure` is set."""

    key: RequestKey
    text: str | None = None
    """The answer as it came, with whatever the model thought aloud in it."""
    failure: Failure | None = None
    usage: Usage = Usage()
    seconds: float | None = None
    """Time the backend spent on it: for a static batch, the batch's time."""
    finish_reason: str | None = None
    """`stop`, `length`, or the backend's own word."""
    note: str | None = None
    """What the backend had to change in the request: `image 2 scaled from 8000×6000 to 4096×3072 pixels`."""
    reasoning: str | None = None
    """What the model thought before it answered, where the backend gets it apart from the answer."""

    @property
    def succeeded(self) -> bool:
        """Whether there is an answer to score."""
        return self.failure is None
