"""A model on the hub, planned without its weights: over real HTTP, from a server on this machine that plays the hub.

Guards against a plan that downloads 65 GB to say that they don't fit.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from processes import DEADLINE
from sizing_models import LLAVA_NEXT_34B, llava_next_34b_tensors, write_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves the files of one repository, in parts where parts are asked for; counts the bytes of its answers."""

    daemon_threads = True

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), HubRequest)
        self.name = name
        self.folder = folder
        self.sent = 0


class HubRequest(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Stay quiet."""

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0].strip("/")
        name, folder = self.server.name, self.server.folder
        if path.startswith(f"api/models/{name}"):
            siblings = [{"rfilename": file.name} for file in folder.iterdir()]
            return self._send(
                200, json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode(), body, {}
            )
        found = re.fullmatch(rf"{name}/resolve/[^/]+/([\w.-]+)", path)
        if not path.startswith(f"{name}/"):
            return self._send(404, b"{}", body, {"X-Error-Code": "RepoNotFound"})
        if found is None or not (folder / found[1]).is_file():
            return self._send(404, b"{}", body, {"X-Error-Code": "EntryNotFound"})
        return self._send_file(folder / found[1], body)

    def _send_file(self, file: Path, body: bool) -> None:
        size = file.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        begin, end = (int(asked[1]), min(int(asked[2] or size - 1), size - 1)) if asked else (0, size - 1)
        with file.open("rb") as stream:
            stream.seek(begin)
            data = stream.read(end - begin + 1) if body else b""
        headers = {"ETag": f'"{hashlib.sha1(file.name.encode()).hexdigest()}"', "Accept-Ranges": "bytes"}
        if asked:
            headers["Content-Range"] = f"bytes {begin}-{end}/{size}"
        self._send(206 if asked else 200, data, body, {**headers, "Content-Length": str(end - begin + 1)})

    def _send(self, status: int, data: bytes, body: bool, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), "X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.server.sent += len(data)
            self.wfile.write(data)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = write_model(
        tmp_path / "remote", LLAVA_NEXT_34B, llava_next_34b_tensors(), shards=3, processor={}
    )
    server = Hub("lab/llava-34b", folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def muster_plan(
    hub: Hub, home: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    variables |= {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1", **environment,
    }  # fmt: skip
    words = [sys.executable, "-m", "muster", "plan", *arguments]
    return subprocess.run(words, env=variables, capture_output=True, text=True, timeout=DEADLINE, check=False)


def test_headers_come_by_range_requests(hub: Hub, tmp_path: Path) -> None:
    options = ("--gpus", "8", "--gpu-memory", "40GiB", "--json")
    done = muster_plan(hub, tmp_path / "home", "--model", "lab/llava-34b", *options)
    assert done.returncode == 0, done.stderr
    plan: dict[str, Any] = json.loads(done.stdout)
    assert plan["model"]["parameters"] == 34_752_083_968
    assert (plan["choice"]["fit"]["gpus"], plan["choice"]["replicas"]) == (2, 4)
    assert 0 < hub.sent < 2_000_000


def test_what_the_hub_does_not_have_is_explained(hub: Hub, tmp_path: Path) -> None:
    done = muster_plan(hub, tmp_path / "home", "--model", "lab/nothing")
    assert done.returncode == 2
    assert "neither a folder here nor a model on the hub" in done.stderr
    offline = muster_plan(hub, tmp_path / "home", "--model", "lab/llava-34b", HF_HUB_OFFLINE="1")
    assert offline.returncode == 2
    assert "HF_HUB_OFFLINE is set" in offline.stderr
    assert "Traceback" not in done.stderr + offline.stderr
