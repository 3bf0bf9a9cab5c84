"""A loopback endpoint that speaks OpenAI's chat completions: what a toolkit's code asks a judge, Muster's answers.

The code finds it through the environment variables that it reads anyway. Whoever else may run on this machine needs the
key, which only this process's environment has. Any path is taken: some code posts to the base address itself.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from muster_toolkit_wire import Wire

_LARGEST = 256 << 20
"""Bytes of one request: some hold a whole video's frames."""


class JudgeEndpoint:
    """The server, in a thread of its own, and what it noted."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.task = ""
        """Whose code asks at the moment."""
        self.document = ""
        """About which document; empty for all of them together."""
        self.asked = 0
        """Requests so far."""
        self.refused = ""
        """Why the last request had no answer since this was emptied."""
        self._key = f"sk-{secrets.token_hex(16)}"  # some clients want a key to look like one
        self._lock = threading.Lock()
        endpoint = self

        class Requests(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                endpoint._serve(self)

            def do_GET(self) -> None:
                models = {"object": "list", "data": [{"id": "muster", "object": "model"}]}
                _reply(self, 200, models)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Nothing: requests are journalled on the other side."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Requests)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="judge", daemon=True).start()

    def announce(self) -> None:
        """Put it where code looks for a judge. The user's own keys are hidden: nothing is to be paid unasked."""
        base = f"http://127.0.0.1:{self._server.server_address[1]}"
        for name in ("OPENAI_API_KEY", "AZURE_API_KEY", "AZURE_OPENAI_API_KEY", "OPENROUTER_API_KEY"):
            os.environ[name] = self._key
        for name in ("OPENAI_API_URL", "OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENROUTER_API_URL"):
            os.environ[name] = f"{base}/v1"
        for name in ("AZURE_ENDPOINT", "AZURE_OPENAI_ENDPOINT"):
            os.environ[name] = base
        for name in ("ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY", "DASHSCOPE_API_KEY"):
            os.environ.pop(name, None)
        os.environ["API_TYPE"] = "openai"
        own = "127.0.0.1,localhost"
        for name in ("NO_PROXY", "no_proxy"):
            os.environ[name] = f"{os.environ[name]},{own}" if os.environ.get(name) else own

    @property
    def key(self) -> str:
        """What requests have to show."""
        return self._key

    @property
    def base_url(self) -> str:
        """Where a chat-completions client finds it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        size = int(request.headers.get("Content-Length") or 0)
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ") or request.headers.get(
            "api-key", ""
        )
        if size > _LARGEST:
            request.close_connection = True
            _reply(request, 413, {"error": {"message": "too large"}})
            return
        content = request.rfile.read(size)
        if not hmac.compare_digest(shown, self._key):
            _reply(request, 401, {"error": {"message": "not this process's key"}})
            return
        try:
            body = json.loads(content)
            messages = body["messages"]
        except (ValueError, KeyError, TypeError):
            _reply(
                request, 400, {"error": {"message": "chat completions only: a JSON object with `messages`"}}
            )
            return
        with self._lock:
            self.asked += 1
        answer = self._wire.ask(
            {
                "about": "judge",
                "task": self.task,
                "document": self.document,
                "messages": messages,
                "max_tokens": body.get("max_completion_tokens") or body.get("max_tokens"),
                "n": body.get("n"),
            }
        )
        if answer.get("text") is None:
            with self._lock:
                self.refused = str(answer.get("message"))
            _reply(
                request, 400, {"error": {"message": answer.get("message"), "type": "invalid_request_error"}}
            )
            return
        _reply(request, 200, _completion(body, answer["text"]))


def _completion(body: dict[str, Any], text: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {
        "id": "chatcmpl-muster",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body.get("model", "muster"),
        "choices": [{**choice, "index": index} for index in range(int(body.get("n") or 1))],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }


def _reply(request: BaseHTTPRequestHandler, status: int, body: dict[str, Any]) -> None:
    content = json.dumps(body).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)
