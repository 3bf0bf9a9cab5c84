"""A chat-completions server that costs as little as it can: it waits a little, and answers.

    python -m benchmarks.api_server SECONDS

Prints its port. Reads requests by their length alone, and answers all with the same bytes.
"""

from __future__ import annotations

import asyncio
import sys

BODY = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":"x"}}],'
    b'"usage":{"prompt_tokens":600,"completion_tokens":1,"total_tokens":601}}'
)
RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)
LENGTH = b"content-length:"


class Server(asyncio.Protocol):
    """One connection, one request at a time."""

    seconds = 0.0

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._parts: list[bytes] = []
        self._missing: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Count bytes until the request is complete."""
        if self._missing is None:
            self._parts.append(data)
            head, separator, rest = b"".join(self._parts).partition(b"\r\n\r\n")
            if not separator:
                return
            lower = head.lower()
            start = lower.index(LENGTH) + len(LENGTH)
            self._missing = int(lower[start:].split(b"\r\n", 1)[0]) - len(rest)
            self._parts.clear()
        else:
            self._missing -= len(data)
        if self._missing <= 0:
            self._missing = None
            asyncio.get_running_loop().call_later(self.seconds, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(RESPONSE)


async def main() -> None:
    """Serve until killed."""
    Server.seconds = float(sys.argv[1])
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
