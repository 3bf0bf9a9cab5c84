"""Sends bodies to servers, and says what came of it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

import aiohttp
import msgspec

from muster.core import ConfigurationError, Request
from muster.models.api.failures import (
    Asked,
    Refusal,
    UnavailableError,
    UnreachableError,
    judge,
    read_error_body,
    read_parameter,
    read_retry_after,
    untrusted,
)
from muster.models.api.headers import secret_parts, with_headers
from muster.models.api.options import BaseUrl
from muster.models.api.protocol import Prepared, Reply
from muster.models.api.proxies import described, proxy_of
from muster.models.api.secrets import secrets_of, without
from muster.models.openai.messages import ChatFormat
from muster.models.openai.replies import read_reply

MOST_BYTES = 16 << 20
"""Of one reply."""
KEPT_OPEN_SECONDS = 4.0
"""Idle connections: shorter than servers keep them (uvicorn: 5 s), so that none is used that is being closed."""


class ChatCompletions:
    """Implements `Api` for OpenAI-compatible servers."""

    def __init__(
        self,
        urls: Sequence[BaseUrl],
        key: str,
        key_variable: str,
        chat: ChatFormat,
        connect_timeout: float,
        extra_headers: Mapping[str, str] | None = None,
    ) -> None:
        self._urls, self._chat = urls, chat
        self._asked = [Asked(described(url.url), chat.model, key_variable) for url in urls]
        self._proxies = [_through(url) for url in urls]
        self._addresses = [_join(url.url, "chat/completions") for url in urls]
        extra = extra_headers or {}
        self._headers = [with_headers(_headers(url, key), extra) for url in urls]
        self._secrets = (key, *secret_parts(extra))
        self.parameters = chat.parameters
        self._connect_timeout = connect_timeout
        self._http: aiohttp.ClientSession | None = None

    def prepare(self, request: Request) -> Prepared[bytes]:
        """See `Api`."""
        return self._chat.body(request)

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """See `Api`. Honours the usual variables for proxies and certificates.

        Not by aiohttp's `trust_env`, which asks a proxy for the loopback too, and fails where ~/.netrc knows the host.
        """
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_OPEN_SECONDS)
        timeout = aiohttp.ClientTimeout(
            total=None, connect=self._connect_timeout, sock_connect=self._connect_timeout
        )
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as self._http:
            yield

    async def ask(self, endpoint: int, body: bytes) -> Reply:
        """See `Api`."""
        assert self._http is not None
        asked = self._asked[endpoint]
        try:
            async with self._http.post(
                self._addresses[endpoint],
                data=body,
                headers={**self._headers[endpoint], **self._proxies[endpoint].headers},
                allow_redirects=False,
                proxy=self._proxies[endpoint].address,
                proxy_headers=self._proxies[endpoint].tunnel_headers,
            ) as response:
                content = await _read(response, asked.endpoint)
        except aiohttp.ClientConnectorCertificateError as error:
            raise untrusted(asked.endpoint, error) from None
        except aiohttp.ClientHttpProxyError as error:
            raise judge(Refusal(error.status, f"{error.message} (the proxy's words)"), asked) from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise UnreachableError(f"{asked.endpoint} can't be reached: {_words(error)}") from None
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            raise UnavailableError(f"the connection to {asked.endpoint} broke: {_words(error)}") from None
        if response.status == 200:
            return read_reply(content, asked.endpoint)
        message, code = read_error_body(content)
        retry_after = read_retry_after(response.headers)
        location = response.headers.get("location", "") if 300 <= response.status < 400 else ""
        refusal = Refusal(response.status, message, code, retry_after, read_parameter(content), location)
        raise judge(refusal, asked)

    def leave_out(self, body: bytes, parameter: str) -> bytes | None:
        """See `Api`."""
        fewer = self.parameters.without(msgspec.json.decode(body), parameter)
        return None if fewer is None else msgspec.json.encode(fewer)

    def scrub(self, text: str) -> str:
        """See `Api`: a server may quote what it was sent."""
        return without(text, *self._secrets, *secrets_of(*self._urls))


async def _read(response: aiohttp.ClientResponse, endpoint: str) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > MOST_BYTES:
            raise UnavailableError(f"{endpoint} answered more than {MOST_BYTES >> 20} MiB")
    return bytes(content)


class _Through(NamedTuple):
    """How a proxy is asked: with its credentials in the request, or, for https, in what opens the tunnel alone."""

    address: str | None = None
    headers: Mapping[str, str] = {}
    tunnel_headers: Mapping[str, str] | None = None


def _through(url: BaseUrl) -> _Through:
    proxy = proxy_of(url.url)
    if proxy is None:
        return _Through()
    if not proxy.url.startswith("http"):
        raise ConfigurationError(
            f"{proxy.variable}={proxy.url}: this backend can ask through http and https proxies only; name the "
            f"server in NO_PROXY ({url.host}) to go without"
        )
    if proxy.user is None:
        return _Through(proxy.url)
    credentials = {"Proxy-Authorization": _basic(proxy.user, proxy.password)}
    return (
        _Through(proxy.url, {}, credentials)
        if url.url.startswith("https:")
        else _Through(proxy.url, credentials)
    )


def _headers(url: BaseUrl, key: str) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "User-Agent": "muster"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    elif url.user is not None:
        headers["Authorization"] = _basic(url.user, url.password)
    return headers


def _basic(user: str, password: str) -> str:
    """HTTP basic authentication."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode('ascii')}"


def _join(url: str, path: str) -> str:
    base, separator, query = url.partition("?")
    return f"{base}/{path}{separator}{query}"


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
