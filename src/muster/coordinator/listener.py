"""Where connections come in: sockets that listen, and peers until they have proved that they belong to the run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from muster.core.open_files import allow_files
from muster.wire import transport
from muster.wire.transport import Channel

log = logging.getLogger(__name__)

_CLOSE_SECONDS = 2.0
_MOST_TOLD = 5
"""Refused connections that are reported one by one; somebody may make thousands."""
_MOST_FILES = 1 << 16
_UNAUTHENTICATED_PART = 4
"""Unauthenticated peers may hold one in so many of the files that this process may open."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One way in: the secret that opens it, and whether it is for machines that join a running run."""

    secret: bytes
    for_joiners: bool = False


class Listener:
    """Listens, and hands on who has shown the secret. An unauthenticated peer costs a file and a few bytes."""

    def __init__(self, serve: Callable[[Channel, Entry], Awaitable[None]]) -> None:
        """`serve` is awaited for every connection that has shown its entry's secret; then it is closed."""
        self._serve = serve
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._unauthenticated: dict[asyncio.Task[None], None] = {}
        self._most_unauthenticated = max(16, allow_files(_MOST_FILES) // _UNAUTHENTICATED_PART)
        self._refused = 0

    async def listen(self, host: str, port: int, entry: Entry) -> int:
        """Listen on `host` and return the port, chosen by the system where `port` is 0. Raises `OSError`."""

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._accept(reader, writer, entry)

        server = await asyncio.start_server(accept, host, port, limit=1 << 20, backlog=1024)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Listen no more, and wait a moment for connections that end."""
        for server in self._servers:
            server.close()
        for task in self._unauthenticated:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=_CLOSE_SECONDS)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, entry: Entry) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        self._unauthenticated[task] = None
        if len(self._unauthenticated) > self._most_unauthenticated:  # the oldest had most time
            next(iter(self._unauthenticated)).cancel()
        try:
            channel = await transport.accept(reader, writer, entry.secret)
            del self._unauthenticated[task]
            await self._serve(channel, entry)
        except transport.HandshakeError as error:
            self._report(writer, error)
        except asyncio.CancelledError:
            log.debug("an unauthenticated connection had to go")  # asyncio's servers would show a traceback
        finally:
            self._unauthenticated.pop(task, None)
            writer.close()

    def _report(self, writer: asyncio.StreamWriter, error: transport.HandshakeError) -> None:
        self._refused += 1
        if self._refused <= _MOST_TOLD:
            address = writer.get_extra_info("peername")
            log.warning("%s: %s", address[0] if address else "somebody", error)
        if self._refused == _MOST_TOLD:
            log.warning("further connections without the secret are refused without a word")
