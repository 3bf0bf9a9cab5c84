"""What one API has to be able to do; everything else is the same for all."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Generic, NamedTuple, Protocol, TypeVar

from muster.core import Request, Usage
from muster.models.api.parameters import Parameters

Body = TypeVar("Body")


class Reply(NamedTuple):
    """What a model said."""

    text: str
    finish_reason: str | None = None
    usage: Usage = Usage()
    reasoning: str = ""
    """What it thought before, where the API gives that apart from the answer."""
    note: str | None = None
    """What had to be left out for it after the request was prepared."""
    unseen: int = 0
    """Tokens of a thought that the API keeps to itself."""


class Prepared(NamedTuple, Generic[Body]):
    """A request as its API wants it, and what had to be changed for that."""

    body: Body
    note: str | None = None


class Api(Protocol[Body]):
    """One way to talk to servers."""

    parameters: Parameters
    """Which of a request's parameters they take."""

    def prepare(self, request: Request) -> Prepared[Body]:
        """The request in the API's form. Runs in a thread. Raises `SampleError` for what the API can't be asked."""
        ...

    def leave_out(self, body: Body, parameter: str) -> Body | None:
        """The body without a parameter, or with another name for it; None where it has none or must have it."""
        ...

    async def ask(self, endpoint: int, body: Body) -> Reply:
        """Ask one endpoint once.

        Raises:
            SampleError | OverloadedError | UnavailableError | UnreachableError | DeniedError: as in `failures`.
        """
        ...

    def session(self) -> AbstractAsyncContextManager[object]:
        """What it needs while it asks (connections)."""
        ...

    def scrub(self, text: str) -> str:
        """`text` without the keys."""
        ...
