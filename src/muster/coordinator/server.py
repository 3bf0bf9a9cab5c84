"""The coordinator's end of the sockets: one asyncio task per worker, one coordinator for all."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import msgspec

from muster.coordinator.coordinator import Coordinator
from muster.coordinator.join_names import JoinNames, other_version
from muster.coordinator.listener import Entry, Listener
from muster.coordinator.media_transfer import MediaReaders, needs_files, probes
from muster.core import ConfigurationError, MusterError
from muster.core.encoded import Encoded
from muster.wire.messages import (
    MORE_FOLLOWS,
    SCHEMA,
    Acknowledged,
    Answers,
    Broken,
    Collect,
    EncodedGrant,
    FromCoordinator,
    FromWorker,
    Grant,
    Heartbeat,
    Hello,
    JoinRequest,
    Leave,
    Log,
    Pledge,
    Pull,
    Ready,
    Refused,
    StatusQuery,
    Stop,
    Welcome,
    WorkerStatus,
    decode_from_worker,
    encode,
)
from muster.wire.transport import HANDSHAKE_SECONDS, Channel

log = logging.getLogger(__name__)

_MOST_BUFFERED = 64 << 20
"""Bytes that may wait for a worker that doesn't read; then its messages are no longer taken."""
_MOST_CLAIMED_WITH_MEDIA = 64
"""Requests that a worker may claim at a time where each brings its files' bytes."""


@dataclass(slots=True)
class _Peer:
    name: str
    channel: Channel
    parked: Pull | None = None
    sees_media: bool = False


class CoordinatorServer:
    """Serves workers until it is closed. Everything runs in one event loop; nothing here blocks it."""

    def __init__(
        self,
        coordinator: Coordinator,
        welcome: Welcome,
        secret: bytes,
        *,
        on_log: Callable[[str, str], None],
        on_broken: Callable[[str, Broken], None],
        on_given_up: Callable[[str, str], None] = lambda _worker, _reason: None,
        missing: Callable[[], list[int]] = list,
        replicas: Mapping[str, int] | None = None,
    ) -> None:
        """The callbacks get the worker's name first. `missing`: ranks that workers who leave at the end hear of.

        `replicas`: which replica each worker has; None where this process has started all but the joined ones.
        """
        files = probes(coordinator.workload.planned)
        self._coordinator, self._inside = coordinator, Entry(secret)
        self._welcome = msgspec.structs.replace(welcome, probes=files)
        self._media = MediaReaders()
        self._sending: set[asyncio.Task[None]] = set()
        self._on_log, self._on_broken, self._on_given_up = on_log, on_broken, on_given_up
        self._missing, self._replicas = missing, replicas
        self._peers: dict[str, _Peer] = {}
        self._listener = Listener(self._serve)
        self._join_names: JoinNames | None = None
        self.changed = asyncio.Event()
        """Set whenever a worker came, went or answered."""
        self._collecting = False
        self._collected_before = False
        self.error: MusterError | None = None
        """Why the run cannot go on: the journal could not be written."""

    async def start(self, host: str, port: int = 0) -> int:
        """Listen for the run's own workers; see `Listener.listen`."""
        loop = asyncio.get_running_loop()
        self._coordinator.workload.rounds.announce_by(partial(loop.call_soon_threadsafe, self._go_on))
        return await self._listener.listen(host, port, self._inside)

    async def listen_for_joiners(self, names: JoinNames, host: str, port: int, secret: bytes) -> int:
        """Listen for machines that join, also with workers that the run didn't start; see `Listener.listen`."""
        self._join_names = names
        return await self._listener.listen(host, port, Entry(secret, for_joiners=True))

    @property
    def connected(self) -> set[str]:
        """Workers with a connection right now."""
        return set(self._peers)

    def send(self, worker: str, message: FromCoordinator | EncodedGrant) -> None:
        """Send to one worker, if it is connected."""
        if (peer := self._peers.get(worker)) is not None:
            peer.channel.send(encode(message))

    def broadcast(self, message: FromCoordinator) -> None:
        """Send to every connected worker."""
        for worker in self._peers:
            self.send(worker, message)

    def drop(self, worker: str) -> None:
        """Hang up on a worker that was lost."""
        if (peer := self._peers.pop(worker, None)) is not None:
            peer.channel.close()
        self.work_returned()

    def work_returned(self) -> None:
        """Something may be waiting again: a worker was lost, or has left."""
        if self._collecting and not self._coordinator.exhausted:
            self._collecting = False
            self.broadcast(Collect("work"))
        self.unpark()
        if self._coordinator.exhausted:
            self._collect()

    def _go_on(self) -> None:
        """The code of a task has said what is asked next."""
        try:
            if self._coordinator.go_on(time.monotonic()):
                self.work_returned()
        except MusterError as error:
            self.error = error
        self.changed.set()

    def unpark(self) -> None:
        """Try the waiting pulls again."""
        for peer in list(self._peers.values()):
            if peer.parked is not None and self._coordinator.workers[peer.name].alive:
                self._answer_pull(peer, peer.parked)

    async def close(self) -> None:
        """Hang up on everybody."""
        for task in self._sending:
            task.cancel()
        self._media.close()
        for peer in self._peers.values():
            peer.channel.close()
        self._peers.clear()
        await self._listener.close()

    # -- one connection

    async def _serve(self, channel: Channel, entry: Entry) -> None:
        peer: _Peer | None = None
        try:
            peer = await self._introduce(channel, entry)
            while peer is not None and (payload := await channel.receive()) is not None:
                if not self._take_in(peer, decode_from_worker(payload)):
                    break
                if channel.unsent > _MOST_BUFFERED:
                    await channel.drain()
        except (ConnectionError, TimeoutError):
            pass  # seen below as the end of the connection
        except MusterError as error:
            self.error = error
        except Exception as error:
            log.exception(
                "a message of %s could not be acted on", peer.name if peer else "an unauthenticated peer"
            )
            if peer is not None:  # or it would come back and say it again
                reason = f"its message could not be acted on ({type(error).__name__}: {error})"
                channel.send(encode(Refused(reason)))
        finally:
            channel.close()
            if peer is not None and self._peers.get(peer.name) is peer:
                del self._peers[peer.name]
                self._coordinator.lose(peer.name, "its connection ended", time.monotonic())
                self.work_returned()
            self.changed.set()

    async def _introduce(self, channel: Channel, entry: Entry) -> _Peer | None:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            payload = await channel.receive()
        first = decode_from_worker(payload) if payload is not None else None
        if isinstance(first, JoinRequest) and entry.for_joiners:
            channel.send(encode(self._offer(first)))
            return None
        if isinstance(first, StatusQuery):
            channel.send(encode(self._standing(first, entry)))
            return None
        if not isinstance(first, Hello):
            return None
        if (objection := self._objection(first, entry)) is not None:
            channel.send(encode(Refused(objection)))
            return None
        if not entry.for_joiners:
            self._check_replica(first)
        return self._take_on(first, channel)

    def _offer(self, join_request: JoinRequest) -> FromCoordinator:
        assert self._join_names is not None
        if join_request.schema != SCHEMA:
            return Refused(other_version(join_request.schema))
        if self._coordinator.draining:
            return Stop("over", "the run is ending")
        return self._join_names.answer(join_request)

    def _standing(self, query: StatusQuery, entry: Entry) -> FromCoordinator:
        if query.schema != SCHEMA:
            return Refused(other_version(query.schema))
        if self._coordinator.draining:
            return Stop("over", "the run is ending")
        worker = self._coordinator.workers.get(query.worker)
        here = (worker is not None and worker.joined) == entry.for_joiners
        if worker is not None and not here:
            return Refused(f"{query.worker} came in by another way")
        if query.given_up and here:
            self._on_given_up(query.worker, query.given_up)
        if worker is None:
            return WorkerStatus(self._welcome.session)
        lost, failed = worker.state == "lost", worker.state == "failed"
        return WorkerStatus(self._welcome.session, worker.pid, worker.answered, lost, failed)

    def _objection(self, hello: Hello, entry: Entry) -> str | None:
        """Why a worker can't take part, or None."""
        if hello.schema != SCHEMA:
            return other_version(hello.schema)
        if hello.session and hello.session != self._welcome.session:
            return (
                "it worked for another run, or another attempt of this one, that was coordinated here before"
            )
        if entry.for_joiners and not (self._join_names and self._join_names.admits(hello)):
            return f"no machine has asked for a worker named {hello.worker!r} here"
        return None

    def _check_replica(self, hello: Hello) -> None:
        """Raise `ConfigurationError`, which ends the run, where a node divides its ranks into other replicas."""
        if self._replicas is None or (mine := self._replicas.get(hello.worker)) == hello.rank:
            return
        raise ConfigurationError(
            f"{hello.worker} on {hello.host} takes itself for replica {hello.rank}, and rank 0's node counts it "
            f"{'as none' if mine is None else f'as {mine}'}: with --gpus-per-replica every node needs as many GPUs for "
            "each process as the others. Start one process per GPU on all nodes, or one per replica on all"
        )

    def _take_on(self, hello: Hello, channel: Channel) -> _Peer:
        if (old := self._peers.pop(hello.worker, None)) is not None:
            old.channel.close()
        before = self._coordinator.workers.get(hello.worker)
        only_cut = before and not before.stuck and (before.host, before.pid) == (hello.host, hello.pid)
        self._coordinator.join(hello.worker, hello.rank, hello.host, hello.pid, time.monotonic())
        if only_cut:
            self._coordinator.undo_loss(hello.worker)
        peer = _Peer(hello.worker, channel)
        self._peers[hello.worker] = peer
        self.send(hello.worker, self._welcome)
        if self._coordinator.draining:
            # It missed the broadcast, and must not wait for a coordinator that is gone.
            self.send(hello.worker, Stop("over" if self._coordinator.finished else "drain", "the run ends"))
        self.unpark()
        self.changed.set()
        return peer

    def _take_in(self, peer: _Peer, message: FromWorker) -> bool:
        """Act on one message; False ends the connection."""
        now, name, coordinator = time.monotonic(), peer.name, self._coordinator
        coordinator.seen(name, now)
        match message:
            case Pull():
                if peer.parked is not None:
                    self.send(name, Grant(peer.parked.number, [], "empty"))
                    peer.parked = None
                self._answer_pull(peer, message)
            case Answers():
                answers = [(index, Encoded.read(json)) for index, json in message.completions]
                freed = coordinator.answer(name, answers, now)
                self.send(name, Acknowledged(message.number))
                self._after_answers(peer)
                if freed:
                    self.unpark()
            case Pledge():
                coordinator.pledge(name, message.indices, now)
                self.send(name, Acknowledged(message.number))
                self._after_answers(peer)
            case Heartbeat():
                coordinator.beat(name, message.busy_seconds)
                if peer.parked is not None and coordinator.workers[name].alive:
                    self._answer_pull(peer, peer.parked)  # it may have come back from a silence
            case Ready():
                peer.sees_media = message.sees_media or not self._welcome.probes
                coordinator.ready(name, message.slots, message.batched, message.load_seconds, now)
                coordinator.videos = message.videos or coordinator.videos
                coordinator.progress.note(message.notes)
                self.changed.set()
            case Log():
                self._on_log(name, message.text)
            case Broken():
                state: Literal["lost", "failed"] = "lost" if message.during == "work" else "failed"
                coordinator.lose(name, f"{message.failure.type}: {message.failure.message}", now, state)
                self._on_broken(name, message)
                return False
            case Leave():
                coordinator.leave(name, message.released, message.busy_seconds, now)
                if coordinator.finished:
                    self.send(name, Stop("over", "the run is over", self._missing()))
                self.work_returned()
                return False
            case Hello() | JoinRequest() | StatusQuery():
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
        limit = pull.limit if peer.sees_media else min(pull.limit, _MOST_CLAIMED_WITH_MEDIA)
        indices, state = self._coordinator.claim(peer.name, limit, pull.idle, time.monotonic())
        if state == "wait" or (state == "empty" and pull.park):
            peer.parked = pull
            return
        peer.parked = None
        workload = self._coordinator.workload
        if peer.sees_media or not any(needs_files(workload.request(index)) for index in indices):
            encoded = [(index, msgspec.Raw(workload.encoded(index))) for index in indices]
            if sum(memoryview(request).nbytes for _index, request in encoded) <= _MOST_BUFFERED:
                self.send(peer.name, EncodedGrant(pull.number, encoded, state))
                return
        task = asyncio.create_task(self._send_with_media(peer, pull, indices))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send_with_media(self, peer: _Peer, pull: Pull, indices: Sequence[int]) -> None:
        """Send claimed requests with their files' bytes, as much at a time as may be buffered."""
        workload = self._coordinator.workload
        requests = ((index, workload.request(index)) for index in indices)
        try:
            async for part in self._media.parts(requests, _MOST_BUFFERED):
                if self._peers.get(peer.name) is not peer:
                    return  # its claims went back to the queue
                if not part.last:
                    self.send(peer.name, Grant(MORE_FOLLOWS, part.requests, "work"))
                    await peer.channel.drain()
                    continue
                if part.requests:
                    self.send(peer.name, Grant(pull.number, part.requests, "work"))
                if part.failed:
                    self._coordinator.answer(peer.name, part.failed, time.monotonic())
                if not part.requests:
                    self._answer_pull(peer, pull)
                if part.failed:
                    self._after_answers(peer)
        except ConnectionError as error:
            log.debug("%s went away while it was sent media: %s", peer.name, error)
        except MusterError as error:
            self.error = error
            self.changed.set()
