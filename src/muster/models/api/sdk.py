"""What the backends on a vendor's SDK share: its HTTP client, and what its connection errors mean."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence

import httpx2

from muster.models.api.failures import DeniedError, UnavailableError, UnreachableError, untrusted
from muster.models.api.options import BaseUrl
from muster.models.api.proxies import proxy_of

KEPT_OPEN_SECONDS = 4.0
_NOT_REACHED = (httpx2.ConnectError, httpx2.ConnectTimeout)


def http_client(connect_timeout: float, urls: Sequence[BaseUrl]) -> httpx2.AsyncClient:
    """Connections without a limit of their own; how long an answer may take is the caller's to say.

    The usual variables for proxies count, as everywhere (`proxy_of`).
    """
    direct = {url.host for url in urls if proxy_of(url.url, general=True) is None}
    for chatty in ("httpx2", "google_genai"):  # a line per request
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return httpx2.AsyncClient(
        limits=httpx2.Limits(
            max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEPT_OPEN_SECONDS
        ),
        timeout=httpx2.Timeout(None, connect=connect_timeout),
        follow_redirects=False,
        mounts={f"all://[{host}]" if ":" in host else f"all://{host}": None for host in direct},
    )


def connection_error(
    error: BaseException, endpoint: str
) -> UnreachableError | UnavailableError | DeniedError:
    """The error that a failed exchange stands for: not got through, not trusted, or broken on the way."""
    cause = error.__cause__ or error
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, ssl.SSLCertVerificationError):
            return untrusted(endpoint, link)
        link = link.__cause__ or link.__context__
    words = str(cause) or type(cause).__name__
    if isinstance(cause, _NOT_REACHED):
        return UnreachableError(f"{endpoint} can't be reached: {words}")
    return UnavailableError(f"the connection to {endpoint} broke: {words}")
