"""The backend's story: start a server, ask it as one asks any, and break when it does."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import ClassVar, Protocol

from muster.core import Completion, ReplicaError, Request, RunError
from muster.core.own_python import SAFE_PATH
from muster.models.api.images import ImageLimits
from muster.models.api.model import ApiModel
from muster.models.api.options import BaseUrl
from muster.models.api.parameters import Parameters
from muster.models.openai.backend import MOST_IMAGE_BYTES
from muster.models.openai.http import ChatCompletions
from muster.models.openai.messages import ChatFormat
from muster.models.protocol import ModelKind, ModelSettings, RequestStream
from muster.models.servers.command import SERVED_NAME, Command, Kind, Sglang, Vllm
from muster.models.servers.options import ServerOptions, check_settings, server_options
from muster.models.servers.server import Server

NOTICED_SECONDS = 1.0
"""A broken connection is known at once, the end of the process that broke it a little later."""


class ServerModel:
    """One replica: a server on this replica's GPUs, and a client that asks it.

    When the server dies or no longer answers, the replica is broken: what was asked goes back to the queue. Whoever
    starts the replica again, or calls `generate` again, gets another server.
    """

    models: ClassVar[ModelKind] = "checkpoint"
    starts_processes: ClassVar[bool] = True
    kind: ClassVar[Kind]

    @staticmethod
    def check(settings: ModelSettings) -> None:
        """Raise `ConfigurationError` for settings that can't work; starts nothing."""
        check_settings(settings)

    def __init__(self, settings: ModelSettings) -> None:
        self._settings, self._options = settings, server_options(settings.args)
        self._client: _Client | None = None
        self.slots = self._start().slots

    def _start(self) -> _Client:
        server = Server(
            self._command,
            self.kind.name,
            self._options.ready_timeout,
        )
        self._end = weakref.finalize(self, server.close)
        client = self._client = _Client(self._settings, self._options, server)
        return client

    def _command(self, port: int, key: str) -> Command:
        command = self.kind.command(self._settings, self._options, port, key)
        if self._options.command is not None:  # the user's own may live on what lies beside it
            return command
        return replace(command, env={**SAFE_PATH, **command.env})

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        """Answer requests as the server does.

        Raises:
            ReplicaError: the server has died, or gives no answers any more.
            ConfigurationError: it refuses what it is asked.
        """
        client = self._client or self._start()
        try:
            yield from client.generate(requests)
        except (ReplicaError, RunError) as error:
            words = client.server.how_it_ended()
            self.close()
            raise ReplicaError(words if isinstance(error, ReplicaError) else f"{error}. {words}") from error

    def close(self) -> None:
        """End the server. Losing the last reference to the model does so too."""
        self._client = None
        self._end()


class VllmServerModel(ServerModel):
    """`vllm serve` for each replica."""

    kind = Vllm()


class SglangServerModel(ServerModel):
    """`python -m sglang.launch_server` for each replica."""

    kind = Sglang()


class _Client(ApiModel[bytes]):
    """Asks one server."""

    def __init__(self, settings: ModelSettings, options: ServerOptions, server: Server) -> None:
        url = BaseUrl(server.url)
        chat = ChatFormat(
            model=SERVED_NAME,
            limit_field=options.limit_field or "max_tokens",
            image_limits=ImageLimits(options.max_image_bytes or MOST_IMAGE_BYTES, options.max_image_side),
            max_images=options.max_images,
            image_urls=options.image_urls,
            video=options.video,
            extra_body=options.body,
            parameters=Parameters(options.body),
        )
        api = ChatCompletions([url], server.key, "the server's", chat, options.connect_timeout)
        super().__init__(settings, options, api, [url.url])
        self.server = server

    @contextlib.asynccontextmanager
    async def _client(self, on_change: Callable[[], None]) -> AsyncIterator[_Watched]:  # type: ignore[override]
        loop, died = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is over
                loop.call_soon_threadsafe(died.set)

        async with super()._client(on_change) as client:
            self.server.on_end(tell)
            try:
                yield _Watched(client, died)
            finally:
                self.server.on_end(None)


class _Asker(Protocol):
    async def complete(self, request: Request) -> Completion: ...
    def places(self) -> int: ...


def _may_be_death(completion: Completion) -> bool:
    return completion.failure is not None and completion.failure.kind != "sample"


class _Watched:
    """A client whose requests end with the server, not after many attempts to reach it."""

    def __init__(self, client: _Asker, died: asyncio.Event) -> None:
        self._client, self._died = client, died

    def places(self) -> int:
        return self._client.places()

    async def complete(self, request: Request) -> Completion:
        answer = asyncio.ensure_future(self._client.complete(request))
        death = asyncio.ensure_future(self._died.wait())
        try:
            await asyncio.wait({answer, death}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done() and not _may_be_death(answer.result()):
                return answer.result()
            await asyncio.wait({death}, timeout=NOTICED_SECONDS)
            if self._died.is_set():
                raise ReplicaError("the server has ended")
            return await answer
        finally:
            for task in (answer, death):
                task.cancel()
