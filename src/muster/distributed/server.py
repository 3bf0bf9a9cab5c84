"""The coordinator's end of the sockets: one asyncio task per worker, one coordinator for all."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from muster.core import Failure, MusterError
from muster.distributed import wire
from muster.distributed.coordinator import Coordinator
from muster.distributed.messages import (
    SCHEMA,
    Acknowledged,
    Answers,
    Beat,
    Broken,
    Collect,
    FromCoordinator,
    FromWorker,
    Grant,
    Hello,
    Leave,
    Log,
    Pledge,
    Pull,
    Ready,
    Refused,
    Welcome,
    decode_from_worker,
    encode,
)

log = logging.getLogger(__name__)

_MOST_BUFFERED = 64 << 20
"""Bytes that may wait for a worker that doesn't read; then its messages are no longer taken."""


@dataclass(slots=True)
class _Peer:
    name: str
    writer: asyncio.StreamWriter
    parked: Pull | None = None


class CoordinatorServer:
    """Serves workers until it is closed. Everything runs in one event loop; nothing here blocks it."""

    def __init__(
        self,
        coordinator: Coordinator,
        welcome: Welcome,
        secret: bytes,
        *,
        on_log: Callable[[str, str], None],
        on_broken: Callable[[str, Failure, bool], None],
    ) -> None:
        """Args of the callbacks: `on_log(worker, text)`, `on_broken(worker, failure, while_loading)`."""
        self._coordinator, self._welcome, self._secret = coordinator, welcome, secret
        self._on_log, self._on_broken = on_log, on_broken
        self._peers: dict[str, _Peer] = {}
        self._server: asyncio.Server | None = None
        self.changed = asyncio.Event()
        """Set whenever a worker came, went or answered."""
        self._collecting = False
        self._collected_before = False
        self.error: MusterError | None = None
        """Why the run cannot go on: the journal could not be written."""

    async def start(self, host: str) -> int:
        """Listen on `host` at a free port, and return the port."""
        self._server = await asyncio.start_server(self._serve, host, 0, limit=1 << 20, backlog=1024)
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def connected(self) -> set[str]:
        """Workers with a connection right now."""
        return set(self._peers)

    def send(self, worker: str, message: FromCoordinator) -> None:
        """Send to one worker, if it is connected."""
        if (peer := self._peers.get(worker)) is not None:
            peer.writer.write(wire.frame(encode(message)))

    def broadcast(self, message: FromCoordinator) -> None:
        """Send to every connected worker."""
        for worker in self._peers:
            self.send(worker, message)

    def drop(self, worker: str) -> None:
        """Hang up on a worker that was lost."""
        if (peer := self._peers.pop(worker, None)) is not None:
            peer.writer.close()
        self.work_returned()

    def work_returned(self) -> None:
        """Something may be waiting again: a worker was lost, or has left."""
        if self._collecting and not self._coordinator.exhausted:
            self._collecting = False
            self.broadcast(Collect("work"))
        self.unpark()
        if self._coordinator.exhausted:
            self._collect()

    def unpark(self) -> None:
        """Try the waiting pulls again."""
        for peer in list(self._peers.values()):
            if peer.parked is not None:
                self._answer_pull(peer, peer.parked)

    async def close(self) -> None:
        """Hang up on everybody."""
        if self._server is not None:
            self._server.close()
        for peer in self._peers.values():
            peer.writer.close()
        self._peers.clear()

    # -- one connection

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer: _Peer | None = None
        try:
            await wire.accept(reader, writer, self._secret)
            _no_delay(writer)
            peer = await self._introduce(reader, writer)
            while peer is not None and (payload := await wire.read_frame(reader)) is not None:
                if not self._take_in(peer, decode_from_worker(payload)):
                    break
                if writer.transport.get_write_buffer_size() > _MOST_BUFFERED:
                    await writer.drain()
        except (wire.HandshakeError, msgspec.DecodeError) as error:
            log.warning("%s: %s", writer.get_extra_info("peername"), error)
        except ConnectionError:
            pass  # seen below as the end of the connection
        except MusterError as error:
            self.error = error
        except Exception as error:
            log.exception("a message of %s could not be acted on", peer.name if peer else "a worker")
            reason = f"its message could not be acted on ({type(error).__name__}: {error})"
            writer.write(wire.frame(encode(Refused(reason))))  # or it would come back and say it again
        finally:
            writer.close()
            if peer is not None and self._peers.get(peer.name) is peer:
                del self._peers[peer.name]
                self._coordinator.lose(peer.name, "its connection ended", time.time())
                self.work_returned()
            self.changed.set()

    async def _introduce(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Peer | None:
        payload = await wire.read_frame(reader)
        hello = decode_from_worker(payload) if payload is not None else None
        if not isinstance(hello, Hello):
            return None
        if hello.schema != SCHEMA:
            reason = f"it speaks version {hello.schema} of the protocol, the coordinator {SCHEMA}"
            writer.write(wire.frame(encode(Refused(reason + "; install the same Muster everywhere"))))
            return None
        if (old := self._peers.pop(hello.worker, None)) is not None:
            old.writer.close()
        self._coordinator.join(hello.worker, hello.rank, hello.host, hello.pid, time.time())
        peer = _Peer(hello.worker, writer)
        self._peers[hello.worker] = peer
        self.send(hello.worker, self._welcome)
        self.unpark()
        self.changed.set()
        return peer

    def _take_in(self, peer: _Peer, message: FromWorker) -> bool:
        """Act on one message; False ends the connection."""
        now, name, coordinator = time.time(), peer.name, self._coordinator
        match message:
            case Pull():
                if peer.parked is not None:
                    self.send(name, Grant(peer.parked.number, [], "empty"))
                    peer.parked = None
                self._answer_pull(peer, message)
            case Answers():
                coordinator.answer(name, message.completions, now)
                self.send(name, Acknowledged(message.number))
                self._after_answers(peer)
            case Pledge():
                coordinator.pledge(name, message.indices, now)
                self.send(name, Acknowledged(message.number))
                self._after_answers(peer)
            case Beat():
                coordinator.beat(name, message.busy_seconds, now)
            case Ready():
                coordinator.ready(name, message.slots, message.batched, message.load_seconds, now)
                self.changed.set()
            case Log():
                self._on_log(name, message.text)
            case Broken():
                coordinator.lose(name, message.failure.message, now, "failed" if message.loading else "lost")
                self._on_broken(name, message.failure, message.loading)
                return False
            case Leave():
                coordinator.leave(name, message.released, message.busy_seconds, now)
                self.work_returned()
                return False
            case Hello():
                return False
        return True

    def _after_answers(self, peer: _Peer) -> None:
        if peer.parked is not None:
            self._answer_pull(peer, peer.parked)
        if self._coordinator.exhausted:
            self.unpark()
            self._collect()
        self.changed.set()

    def _collect(self) -> None:
        """Have the kept answers brought in, once for each time that there is nothing left to answer."""
        keepers = self._coordinator.keepers
        if self._collecting or not keepers:
            return
        self._collecting = True
        how: Literal["group", "stream"] = "stream" if self._collected_before else "group"
        self._collected_before = True  # a group that lost a member is not formed again
        for position, name in enumerate(keepers):
            self.send(name, Collect(how, position, len(keepers)))

    def _answer_pull(self, peer: _Peer, pull: Pull) -> None:
        granted = self._coordinator.pull(peer.name, pull.limit, pull.idle, time.time())
        state = granted.state
        if state == "wait" or (state == "empty" and pull.park):
            peer.parked = pull
            return
        peer.parked = None
        self.send(peer.name, Grant(pull.number, granted.requests, state))


def _no_delay(writer: asyncio.StreamWriter) -> None:
    connected = writer.get_extra_info("socket")
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
