"""The story of a model behind an API: pull what there is room for, ask whoever has the least to do, yield answers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Generic, TypeVar

from muster.core import JSON, Completion, ConfigurationError
from muster.core.open_files import allow_files
from muster.models.api.client import Client
from muster.models.api.endpoints import EndpointPool
from muster.models.api.limit import MOST, AdaptiveLimit
from muster.models.api.options import ApiOptions, BaseUrl, base_urls, parse_options, providers
from muster.models.api.protocol import Api
from muster.models.api.repeated import Repeated
from muster.models.api.retry_policy import Patience
from muster.models.api.traffic import Traffic
from muster.models.protocol import ModelKind, ModelSettings, RequestStream

SHARE_OF_TIMEOUT = 0.9
"""Of `--request-timeout`: an answer that comes later would find its replica taken for stuck."""
MEDIA_THREADS = 4
SPARE_FILES = 256
"""Descriptors for everything but connections."""

Body = TypeVar("Body")


class ApiModel(Generic[Body]):
    """Implements `Model` for any API: concurrency, retries, time-outs and dead endpoints are the same for all."""

    models: ClassVar[ModelKind] = "served"
    default_url: ClassVar[str]
    url_variable: ClassVar[str]
    """The environment variable with another."""
    options: ClassVar[type[ApiOptions]] = ApiOptions

    def __init__(
        self, settings: ModelSettings, options: ApiOptions, api: Api[Body], endpoints: list[str]
    ) -> None:
        """`endpoints`: names to show; `api` knows them by their position."""
        wanted = settings.max_in_flight
        self.slots = _allow_connections(wanted or MOST * len(endpoints), explicit=wanted is not None)
        seconds = SHARE_OF_TIMEOUT * settings.request_timeout
        self._patience = Patience(seconds, options.timeout or seconds / 2, options.max_retries)
        self._api = api
        self._repeated = Repeated(answered=settings.resumed)
        self.videos = "frames" if getattr(options, "video", "frames") == "frames" else "video"
        self._pool = EndpointPool(
            endpoints,
            lambda: AdaptiveLimit(most=wanted or MOST, adaptive=wanted is None),
            self.slots,
        )

    @classmethod
    def urls(cls, options: ApiOptions) -> tuple[BaseUrl, ...]:
        """The servers. Raises `ConfigurationError` for what is no address."""
        return base_urls(options.base_url, cls.url_variable, cls.default_url)

    @classmethod
    def identity(cls, args: Mapping[str, JSON]) -> Mapping[str, JSON]:
        """The provider's host; nothing for servers of one's own. See `Declaration`."""
        hosts = providers(cls.urls(parse_options(args, cls.options)))
        return {"hosts": list(hosts)} if hosts else {}

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        """Answer requests as answers come.

        Raises:
            ConfigurationError: the key, the model or the address is wrong.
            RunError: nothing answers any more.
        """
        yield from Traffic(requests, self._client).answers()
        self._repeated.check()

    @contextlib.asynccontextmanager
    async def _client(self, on_change: Callable[[], None]) -> AsyncIterator[Client[Body]]:
        threads = ThreadPoolExecutor(MEDIA_THREADS, "muster-media")
        try:
            async with self._api.session():
                yield Client(self._api, self._pool, self._patience, threads, on_change, self._repeated)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def _allow_connections(wanted: int, *, explicit: bool) -> int:
    """As many connections as were asked for, or as there are file descriptors for where nobody asked.

    Raises:
        ConfigurationError: the user asked for more than the system's hard limit.
    """
    possible = allow_files(wanted + SPARE_FILES) - SPARE_FILES
    if possible >= wanted:
        return wanted
    if explicit:
        raise ConfigurationError(
            f"--max-in-flight {wanted} needs as many open files, and this process may have {possible + SPARE_FILES} "
            f"(ulimit -Hn): at most {max(1, possible)}"
        )
    return max(1, possible)
