"""Thousands of workers in one process: real connections and messages, and answers that take no time."""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Sequence

import msgspec

from muster.core import Completion, RequestKey, Usage
from muster.core.encoded import Encoded
from muster.wire.messages import Acknowledged, Answers, Hello, Pull, Ready, Stop, encode
from muster.wire.transport import Connection

THREADS = 16
"""That connect at the same time."""
TEXT = "The answer is B, because the second picture shows more of them."
_HEAD = 20
_READ = 1 << 16


class _Request(msgspec.Struct):
    """Of a request, what its answer needs."""

    key: RequestKey


class _Grant(msgspec.Struct, tag="Grant"):
    number: int
    requests: list[tuple[int, _Request]]
    state: str


_decode = msgspec.msgpack.Decoder(_Grant | Acknowledged | Stop).decode


class LightWorker:
    """One connection. Answers what it is granted as soon as it is told to go."""

    def __init__(self, address: tuple[str, int], secret: bytes, number: int, claim: int) -> None:
        """Come in, say that the model is loaded, and wait for the first claim."""
        self._claim = claim
        self._connection = Connection.connect(address, secret, 300)
        self._connection.limit_wait(300)
        self._connection.send(encode(Hello(f"worker-{number}", number, "localhost", os.getpid())))
        self._connection.receive()  # the welcome
        self._connection.send(encode(Ready(claim, False, 0.0, sees_media=True)))
        self._number = 1
        self._connection.send(encode(Pull(1, claim, True, True)))
        first = _decode(self._connection.receive() or b"")
        assert isinstance(first, _Grant)
        self._granted: _Grant | None = first
        self._buffer = bytearray()
        self.over = False

    @property
    def socket(self) -> socket.socket:
        """For a selector."""
        return self._connection._socket

    def go(self) -> int:
        """Answer what was granted and ask for more; how many answers that were."""
        granted, self._granted = self._granted, None
        if granted is None:
            return 0
        self._number += 1
        completions = [
            (
                index,
                Encoded.of(
                    Completion(
                        request.key, text=TEXT, usage=Usage(600, 16), seconds=0.5, finish_reason="stop"
                    )
                ).json,
            )
            for index, request in granted.requests
        ]
        frames = b""
        for message in (Answers(self._number, completions), Pull(self._number, self._claim, True, True)):
            payload = encode(message)
            frames += self._connection._outgoing.head(payload) + payload
        self.socket.sendall(frames)
        return len(completions)

    def read(self) -> None:
        """Take in what has come."""
        data = self.socket.recv(_READ)
        if not data:
            self.over = True
            return
        self._buffer += data
        while len(self._buffer) >= _HEAD:
            (length,) = struct.unpack_from(">I", self._buffer)
            if len(self._buffer) < _HEAD + length:
                return
            payload = bytes(self._buffer[_HEAD : _HEAD + length])
            if not self._connection._incoming.fits(bytes(self._buffer[4:_HEAD]), payload):
                raise SystemExit("a frame's tag is wrong")
            del self._buffer[: _HEAD + length]
            message = _decode(payload)
            if isinstance(message, Stop):
                self.over = True
            elif isinstance(message, _Grant):
                self.over |= message.state == "finished"
                self._granted = message if message.requests else None

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def connect(address: tuple[str, int], secret: bytes, workers: int, claim: int) -> list[LightWorker]:
    """All of them, each with its first claim."""
    there: list[LightWorker] = []
    errors: list[BaseException] = []

    def some(first: int) -> None:
        try:
            there.extend(LightWorker(address, secret, each, claim) for each in range(first, workers, THREADS))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=some, args=(first,)) for first in range(min(THREADS, workers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return there


def work(workers: Sequence[LightWorker], until: float) -> int:
    """Answer until the run is over, or the monotonic clock says `until`; how many answers were given."""
    answered = 0
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            worker.socket.settimeout(60)
            selector.register(worker.socket, selectors.EVENT_READ, worker)
            answered += worker.go()
        open_ = len(workers)
        while open_ and time.monotonic() < until:
            for key, _ in selector.select(1.0):
                worker = key.data
                worker.read()
                if worker.over:
                    selector.unregister(worker.socket)
                    open_ -= 1
                else:
                    answered += worker.go()
    return answered
