"""What the backends on a vendor's SDK share: its HTTP client, and what its connection errors mean."""

from __future__ import annotations

import logging

import httpx2

from muster.models.api.failures import UnavailableError, UnreachableError

KEPT_OPEN_SECONDS = 4.0
_NOT_REACHED = (httpx2.ConnectError, httpx2.ConnectTimeout)


def http_client(connect_timeout: float) -> httpx2.AsyncClient:
    """Connections without a limit of their own; how long an answer may take is the caller's to say."""
    for chatty in ("httpx2", "google_genai"):  # a line per request
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return httpx2.AsyncClient(
        limits=httpx2.Limits(
            max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEPT_OPEN_SECONDS
        ),
        timeout=httpx2.Timeout(None, connect=connect_timeout),
        follow_redirects=False,
    )


def connection_error(error: BaseException, endpoint: str) -> UnreachableError | UnavailableError:
    """The error that a failed exchange stands for: not got through, or broken on the way."""
    cause = error.__cause__ or error
    words = str(cause) or type(cause).__name__
    if isinstance(cause, _NOT_REACHED):
        return UnreachableError(f"{endpoint} can't be reached: {words}")
    return UnavailableError(f"the connection to {endpoint} broke: {words}")
