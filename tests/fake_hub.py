"""The part of the Hugging Face hub that a dataset download talks to, on the loopback interface."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


@dataclass
class Hub:
    """Datasets by id, each a mapping of paths to contents."""

    datasets: dict[str, dict[str, bytes]]
    requests: list[str] = field(default_factory=list)
    """Method and path of each."""
    address: str = ""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if info := re.fullmatch(r"/api/datasets/([\w-]+/[\w-]+)/(tree|revision)/([\w-]+)", path):
            self.describe(*info.groups(), body=body)
        elif file := re.fullmatch(r"/datasets/([\w-]+/[\w-]+)/resolve/([\w-]+)/(.+)", path):
            name, _revision, member = file.groups()
            content = self.hub.datasets.get(name, {}).get(member)
            headers = {"X-Repo-Commit": COMMIT}
            if content is None:
                self.send(404, b"", {**headers, "X-Error-Code": "EntryNotFound"}, body=body)
                return
            tag = hashlib.sha1(content).hexdigest()
            self.send(200, content, {**headers, "ETag": f'"{tag}"'}, body=body)
        else:
            self.send(404, b"{}", {}, body=body)

    def describe(self, name: str, what: str, revision: str, *, body: bool) -> None:
        files = self.hub.datasets.get(name)
        if files is None:
            self.send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"}, body=body)
            return
        if revision not in ("main", COMMIT):
            self.send(404, b'{"error": "Invalid rev id"}', {"X-Error-Code": "RevisionNotFound"}, body=body)
            return
        siblings = [{"rfilename": each} for each in files]
        tree = [
            {"type": "file", "path": each, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for each, content in files.items()
        ]
        info = {"id": name, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False, "downloads": 0}
        self.send(200, json.dumps(tree if what == "tree" else info).encode(), {}, body=body)

    def send(self, status: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        if body:
            self.wfile.write(content)


@contextmanager
def serving_hub(datasets: dict[str, dict[str, bytes]]) -> Iterator[Hub]:
    """A hub on a free port; its `address` is what HF_ENDPOINT takes."""
    hub = Hub(datasets)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
