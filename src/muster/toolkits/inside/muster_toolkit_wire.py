"""The child's side of the connection: frames, requests one by one, and the end of the process that started it.

Runs in the toolkit's own interpreter (Python 3.10 or newer), so it needs the standard library only. A frame is two
lengths of eight bytes, a JSON header and a payload; the other end is `muster.toolkits.process`.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

LENGTHS = struct.Struct(">QQ")
Handler = Callable[[dict[str, Any]], "Iterator[tuple[Mapping[str, Any], Sequence[bytes]]]"]


class RefusedError(Exception):
    """What was asked can't be done as things are; the user has to change something."""


class Wire:
    """The connection. One thread receives; any thread may send."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._sending = threading.Lock()
        self._questions: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._asked = 0
        self.requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="wire", daemon=True).start()

    def send(self, header: Mapping[str, Any], payload: Sequence[bytes] = ()) -> None:
        """Send one frame."""
        encoded = json.dumps(header, ensure_ascii=False).encode("utf-8", "replace")
        with self._sending:
            self._socket.sendall(LENGTHS.pack(len(encoded), sum(map(len, payload))) + encoded)
            for part in payload:
                self._socket.sendall(part)

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the process that started this one something, from any thread, and wait for the answer."""
        with self._sending:
            self._asked += 1
            number = self._asked
            answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
            self._questions[number] = answers
        self.send({"kind": "question", "number": number, **question})
        return answers.get()

    def _listen(self) -> None:
        try:
            while True:
                header, _payload = self._receive()
                if header.get("do") == "answer":
                    self._questions.pop(header["number"]).put(header)
                else:
                    self.requests.put(header)
        except (EOFError, OSError):
            os._exit(0)  # whoever started this is gone, and with it everybody who wants an answer

    def _receive(self) -> tuple[dict[str, Any], bytes]:
        header_size, payload_size = LENGTHS.unpack(self._exactly(LENGTHS.size))
        header = json.loads(self._exactly(header_size))
        return header, self._exactly(payload_size)

    def _exactly(self, size: int) -> bytes:
        parts, left = [], size
        while left:
            part = self._socket.recv(min(left, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            left -= len(part)
        return b"".join(parts)


def serve(wire: Wire, handlers: Mapping[str, Handler]) -> None:
    """Answer requests until the other end is gone: a handler's frames, then `done`, or an `error`."""
    while True:
        request = wire.requests.get()
        try:
            for header, payload in handlers[request["do"]](request):
                wire.send({"kind": "row", **header}, payload)
            wire.send({"kind": "done"})
        except RefusedError as error:
            wire.send({"kind": "error", "configuration": True, "message": str(error), "traceback": ""})
        except BaseException as error:  # noqa: BLE001 - anybody's code, which may call sys.exit()
            wire.send(
                {
                    "kind": "error",
                    "configuration": False,
                    "message": described(error),
                    "traceback": traceback.format_exc(),
                }
            )


def described(error: BaseException) -> str:
    """An error in one line; of one that only tells of retries, the one that was retried."""
    attempt = getattr(error, "last_attempt", None)
    if attempt is not None and attempt.exception() is not None:
        return described(attempt.exception())
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said[:600]}" if said else type(error).__name__


def start(arguments: Sequence[str]) -> Wire:
    """The connection whose number is the first argument; what anybody prints goes to standard error."""
    os.dup2(2, 1)
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115 - for good
    return Wire(int(arguments[0]))
