"""A coordinator that serves in a thread of the test, and links to it."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from muster.coordinator.coordinator import Coordinator
from muster.coordinator.join_names import JoinNames
from muster.coordinator.progress import Progress, TaskProgress
from muster.coordinator.server import CoordinatorServer
from muster.coordinator.workload import Workload
from muster.core import Completion, Generation, Sample
from muster.core.encoded import Encoded
from muster.models.protocol import ModelSettings, RequestStream
from muster.results.journal import Record
from muster.scheduling.queue import WorkQueue
from muster.tasks.definition import Task
from muster.tasks.plan import PlannedTask
from muster.wire.messages import Hello, Offer, Ready, Welcome
from muster.wire.transport import Connection
from muster.worker.link import SocketLink
from processes import DEADLINE
from toy_task import ToyMetric, ToyPrompt, ToySource

SECRET = b"s" * 32
JOIN_SECRET = b"j" * 32
SESSION = "this one"


@dataclass
class Served:
    """A coordinator that serves in a thread of its own, with what it recorded."""

    port: int
    join_port: int
    """The port for machines that join."""
    records: list[Record]
    coordinator: Coordinator
    server: CoordinatorServer


@contextmanager
def serving(count: int, reconnect: float = 60.0, samples: Sequence[Sample] | None = None) -> Iterator[Served]:
    samples = samples or [Sample(str(i), f"question {i}") for i in range(count)]
    task = Task("toy", 1, ToySource(samples), ToyPrompt(), ToyMetric())
    workload = Workload([PlannedTask(task, task.source.load(), Generation())])
    records: list[Record] = []

    class Sink:
        def append_answer(self, answer: Encoded, worker: str, at: float, attempt: int) -> None:
            records.append(Record(answer.completion, worker, at, attempt))

    coordinator = Coordinator(
        workload,
        WorkQueue(workload.items, replicas=1),
        Sink(),
        Progress([TaskProgress(task.name, len(samples))]),
        attempt=1,
        worker_timeout=60,
        request_timeout=60,
        load_timeout=60,
    )
    settings = msgspec.Raw(msgspec.msgpack.encode(ModelSettings("m")))
    welcome = Welcome("b", settings, heartbeat_seconds=0.1, reconnect_seconds=reconnect, session=SESSION)
    fingerprint = msgspec.Raw(msgspec.msgpack.encode({}))
    offer = Offer(SESSION, "run", "m", "b", "", settings, fingerprint, {}, [])
    started = threading.Event()
    served: list[Served] = []
    loop = asyncio.new_event_loop()

    async def main() -> None:
        server = CoordinatorServer(
            coordinator, welcome, SECRET, on_log=lambda *_: None, on_broken=lambda *_: None
        )
        port = await server.start("127.0.0.1")
        join_port = await server.listen_for_joiners(JoinNames(offer), "127.0.0.1", 0, JOIN_SECRET)
        served.append(Served(port, join_port, records, coordinator, server))
        started.set()
        await over.wait()
        await server.close()

    over = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    assert started.wait(DEADLINE)
    try:
        yield served[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(DEADLINE)
        loop.close()


def loading_link_to(port: Callable[[], int]) -> SocketLink:
    """A worker that has connected and whose model isn't loaded."""
    hello = Hello("worker-0", 0, "host", os.getpid())
    return SocketLink(
        lambda: Connection.connect(("127.0.0.1", port()), SECRET, 20.0), hello, lambda stop, lost: None
    )


def link_to(port: Callable[[], int]) -> SocketLink:
    link = loading_link_to(port)
    link.ready(Ready(1, False, 0.0), lambda: 0.0)
    return link


def answer_all(requests: RequestStream) -> Iterator[Completion]:
    for request in requests:
        yield Completion(request.key, "text")


class Proxy:
    """Passes bytes between worker and coordinator until it is cut; then it takes new connections."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._pairs: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            self._pairs += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def cut(self) -> None:
        for end in self._pairs:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._pairs.clear()

    def close(self) -> None:
        self._listener.close()
        self.cut()
