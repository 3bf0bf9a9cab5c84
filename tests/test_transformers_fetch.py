"""Models from the hub, over real HTTP: a server on this machine plays the hub's part."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from processes import DEADLINE

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"model_type": "llava"}',
    "model.safetensors": bytes(range(256)) * 2000,
    "pytorch_model.bin": b"the same weights again",
    "original/consolidated.pth": b"and again",
    "tokenizer.json": b"{}",
}
OLD_FILES = {"config.json": b"{}", "pytorch_model.bin": b"the only weights"}


class Hub(ThreadingHTTPServer):
    """The few addresses of the hub that a snapshot needs; counts the bodies it serves."""

    daemon_threads = True

    def __init__(self, repositories: Mapping[str, Mapping[str, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), HubRequest)
        self.repositories = repositories
        self.served: Counter[str] = Counter()
        self.listings = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class HubRequest(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Stay quiet."""

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0].strip("/")
        for name, files in self.server.repositories.items():
            if path in (f"api/models/{name}", f"api/models/{name}/revision/main"):
                siblings = [{"rfilename": file} for file in files]
                return self._json({"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings})
            if path.startswith(f"api/models/{name}/tree/"):
                self.server.listings += 1
                return self._json(
                    [
                        {
                            "type": "file",
                            "path": file,
                            "size": len(data),
                            "oid": hashlib.sha1(data).hexdigest(),
                        }
                        for file, data in files.items()
                    ]
                )
            for file, data in files.items():
                if path == f"{name}/resolve/{COMMIT}/{file}":
                    if body:
                        self.server.served[file] += 1
                    return self._send(200, data, body, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"'})
        return self._send(404, b"{}", body, {"X-Error-Code": "RepoNotFound"})

    def _json(self, content: object) -> None:
        self._send(200, json.dumps(content).encode(), True, {"Content-Type": "application/json"})

    def _send(self, status: int, data: bytes, body: bool, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "X-Repo-Commit": COMMIT, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub({"lab/small": FILES, "lab/old": OLD_FILES})
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


FETCH = (
    "import sys; from muster.core import MusterError; from muster.models.fetch import fetch_model\n"
    "sys.stdin.readline()\n"
    "try: print(fetch_model(sys.argv[1]))\n"
    "except MusterError as error: print(type(error).__name__, error); sys.exit(error.exit_code)\n"
)


def start(model: str, endpoint: str, home: Path, **environment: str) -> subprocess.Popen[str]:
    """A process that fetches once it gets a line on its standard input."""
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
        **environment,
    }
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, model],
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, _ = process.communicate("go\n", timeout=DEADLINE)
    return process.returncode, out.strip()


def test_ranks_of_a_node_download_each_file_once(hub: Hub, tmp_path: Path) -> None:
    """Without the lock all ranks list and fetch at once; a thousand of them are refused by the hub."""
    ranks = [start("lab/small", hub.endpoint, tmp_path) for _ in range(3)]
    for rank in ranks:
        assert rank.stdin is not None
        rank.stdin.write("go\n")
        rank.stdin.flush()
    results = [finish(rank) for rank in ranks]
    assert {code for code, _ in results} == {0}
    assert len({folder for _, folder in results}) == 1
    folder = Path(results[0][1])
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert hub.served == {"config.json": 1, "model.safetensors": 1, "tokenizer.json": 1}
    assert hub.listings <= 1, "the ranks that waited for the lock find the listing in the cache"


def test_the_older_weight_format_is_fetched_where_it_is_the_only_one(hub: Hub, tmp_path: Path) -> None:
    code, folder = finish(start("lab/old", hub.endpoint, tmp_path))
    assert code == 0
    assert (Path(folder) / "pytorch_model.bin").read_bytes() == OLD_FILES["pytorch_model.bin"]


def test_offline_the_cache_serves_and_what_is_not_in_it_is_explained(hub: Hub, tmp_path: Path) -> None:
    _, fetched = finish(start("lab/small", hub.endpoint, tmp_path))
    assert finish(start("lab/small", hub.endpoint, tmp_path, HF_HUB_OFFLINE="1")) == (0, fetched)
    code, said = finish(start("lab/other", hub.endpoint, tmp_path, HF_HUB_OFFLINE="1"))
    assert code == 2
    assert "HF_HUB_OFFLINE" in said
    assert "hf download lab/other" in said


def test_without_a_network_the_message_says_what_to_place_where(tmp_path: Path) -> None:
    code, said = finish(start("lab/small", "http://127.0.0.1:9", tmp_path))
    assert code == 2
    assert "can't be reached" in said
    assert "hf download lab/small" in said


def test_an_unknown_model_is_a_configuration_error(hub: Hub, tmp_path: Path) -> None:
    code, said = finish(start("lab/no-such", hub.endpoint, tmp_path))
    assert code == 2
    assert "lab/no-such is neither a folder here nor a model on the hub" in said
