"""Servers that speak the APIs' wire formats over real sockets, and misbehave as they are told."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from muster.core import Completion, Generation, Media, Message, Part, Request, RequestKey
from muster.models.protocol import Model


@dataclass
class Call:
    """One request as it arrived."""

    number: int
    path: str
    headers: dict[str, str]
    body: Any
    at: float = field(default_factory=time.monotonic)

    @property
    def text(self) -> str:
        """Everything that was sent, as text."""
        return json.dumps(self.body)


@dataclass
class Answer:
    """What the server does with a request."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut_after: int | None = None
    """Bytes of the body after which the connection is reset."""
    drip: float = 0.0
    """Seconds between single bytes of the body."""
    hang: bool = False
    hold: threading.Event | None = None
    """Nothing is sent before it is set."""


def chat(
    text: str | list[dict[str, object]] | None = "seven", finish: str | None = "stop", **message: object
) -> Answer:
    """A chat completion."""
    content = {
        "id": "c",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": text, **message},
            }
        ],
        "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
    }
    return Answer(json.dumps(content).encode())


def claude(text: str | None = "Yes.", reason: str = "end_turn") -> Answer:
    """A message of Anthropic's API."""
    content = {
        "id": "msg",
        "type": "message",
        "role": "assistant",
        "model": "m-1",
        "content": [
            {"type": "thinking", "thinking": "hm"},
            *([{"type": "text", "text": text}] if text is not None else []),
        ],
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 20, "output_tokens": 5, "cache_read_input_tokens": 100},
    }
    return Answer(json.dumps(content).encode())


def error(status: int, message: str = "no", code: str | None = None, **headers: str) -> Answer:
    """An error in OpenAI's form."""
    content = {"error": {"message": message, "type": "error", "code": code}}
    return Answer(
        json.dumps(content).encode(),
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
    )


Script = Callable[[Call], Answer]


class ApiServer:
    """Answers by a script. `calls` has what arrived, `busiest` the most requests at the same time."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.calls: list[Call] = []
        self.now = self.busiest = 0
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Listen."""
        self._thread.start()

    def stop(self) -> None:
        """Close everything: whoever connects is refused."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(60)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, sock=self._socket))
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.01))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
        }
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        call = Call(len(self.calls), head[0].split(" ")[1], headers, json.loads(content) if content else None)
        self.calls.append(call)
        self.now += 1
        self.busiest = max(self.busiest, self.now)
        try:
            return await self._answer(self.script(call), writer)
        finally:
            self.now -= 1

    async def _answer(self, answer: Answer, writer: asyncio.StreamWriter) -> bool:
        if answer.hang:
            await asyncio.sleep(600)
        await asyncio.sleep(answer.delay)
        while answer.hold is not None and not answer.hold.is_set():
            await asyncio.sleep(0.02)
        headers = {
            "content-type": "application/json",
            "content-length": str(len(answer.body)),
            **answer.headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {answer.status} X\r\n{lines}\r\n".encode())
        if answer.cut_after is not None:
            writer.write(answer.body[: answer.cut_after])
            await writer.drain()
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()  # a reset, not an end
            return False
        if answer.drip:
            for position in range(len(answer.body)):
                writer.write(answer.body[position : position + 1])
                await writer.drain()
                await asyncio.sleep(answer.drip)
        else:
            writer.write(answer.body)
        await writer.drain()
        return True


@contextmanager
def serving(script: Script) -> Iterator[ApiServer]:
    """A server for the length of a test."""
    server = ApiServer(script)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def dead_port() -> Iterator[int]:
    """A port that refuses connections, and that nobody else gets meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, and not listening
        yield held.getsockname()[1]


class Stream:
    """A `RequestStream` over a list; `pulled` counts."""

    def __init__(self, requests: list[Request]) -> None:
        self._left = iter(requests)
        self.pulled = 0

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Request:
        request = next(self._left)
        self.pulled += 1
        return request

    def take(self, limit: int) -> list[Request]:
        """Not what these backends use."""
        raise NotImplementedError


def question(
    number: int = 0, text: str = "Which digit?", media: tuple[Media, ...] = (), **generation: Any
) -> Request:
    """A request."""
    parts = (*(Part(media=each) for each in media), Part(text=text))
    return Request(
        RequestKey("t", f"s{number}"), (Message("user", parts),), Generation(max_new_tokens=16, **generation)
    )


def ask(model: Model, *requests: Request) -> list[Completion]:
    """The completions, in the order of the requests."""
    stream = Stream(list(requests))
    answered = {completion.key: completion for completion in model.generate(stream)}
    assert set(answered) == {request.key for request in requests}
    return [answered[request.key] for request in requests]
