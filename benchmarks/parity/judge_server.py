"""A judge that always says the same about the same: both sides of the comparison ask it, each by its own client.

Under `/echo` it is a model whose answer is a digest of the question.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SAYINGS = ("1", "0", "0.5", "1", "0")


def saying(text: str) -> str:
    """What it says about a text: a number; an option, or a dictionary of marks, where it is asked for one."""
    if "match an answer with several options" in text:
        return "ABCD"[hashlib.sha256(text.encode()).digest()[0] % 4]
    if "'Overall Score'" in text:
        marks = hashlib.sha256(text.encode()).digest()
        names = ("Creativity", "Richness", "Visual Perception", "Logical Coherence", "Answer Accuracy")
        more = ("Image Relationship Understanding", "Overall Score")
        return repr({name: marks[place] % 11 for place, name in enumerate((*names, *more))})
    return SAYINGS[hashlib.sha256(text.encode()).digest()[0] % len(SAYINGS)]


def echo(body: object) -> str:
    """A digest of all that it was asked, pictures too: equal answers mean equal questions."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = "\n".join(_text(message["content"]) for message in body["messages"])
        choice = {
            "message": {
                "role": "assistant",
                "content": echo(body) if self.path.startswith("/echo") else saying(text),
            },
            "finish_reason": "stop",
            "index": 0,
        }
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        model = body.get("model", "judge")
        self._reply(
            {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": model,
                "choices": [choice],
                "usage": usage,
            }
        )

    def do_GET(self) -> None:
        self._reply(
            {"object": "list", "data": [{"id": "judge", "object": "model", "created": 0, "owned_by": "x"}]}
        )

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""

    def _reply(self, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(
        str(part["text"]) for part in parts if isinstance(part, dict) and part.get("type") == "text"
    )


@contextmanager
def serving() -> Iterator[str]:
    """The address while it serves: `http://127.0.0.1:PORT/v1`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Requests)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
