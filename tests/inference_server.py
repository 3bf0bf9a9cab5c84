"""A stand-in for `vllm serve`: a real process with a real socket, that behaves as it is told.

`python inference_server.py serve MODEL --host H --port P … [--slow S] [--die-after N] …`; started by the backends that
start servers. Writes its process id and its arguments into `--record FILE`, one line of JSON per start.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NAME = "--served-model-name"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--config")
    parser.add_argument("--record", required=True)
    parser.add_argument("--slow", type=float, default=0.0, help="seconds until it answers")
    parser.add_argument("--never", action="store_true", help="it never answers")
    parser.add_argument("--fails", help="what it says before it ends at once")
    parser.add_argument("--fails-once", help="the same, the first time only")
    parser.add_argument("--killed", action="store_true", help="it is killed before it answers")
    parser.add_argument("--die-after", type=int, help="answers until it dies, the first time")
    parser.add_argument("--hang-after", type=int, help="answers until it answers no more, the first time")
    parser.add_argument("--seconds", type=float, default=0.0, help="of one answer")
    parser.add_argument("--stubborn", action="store_true", help="it ignores SIGTERM")
    parser.add_argument("--child", action="store_true", help="it has an engine in a process of its own")
    return parser.parse_known_args()[0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    given: argparse.Namespace
    first: bool
    answered = 0
    lock = threading.Lock()

    def do_GET(self) -> None:
        self.reply(200 if self.path == "/health" else 404, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") != f"Bearer {key()}":
            self.reply(401, {"error": {"message": "no such key"}})
            return
        with Handler.lock:
            Handler.answered += 1
            number = Handler.answered
        if self.first and self.given.die_after is not None and number > self.given.die_after:
            print("out of luck", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if self.first and self.given.hang_after is not None and number > self.given.hang_after:
            time.sleep(600)
        time.sleep(self.given.seconds)
        content = f"{body['model']} answers"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
        self.reply(200, {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 2}})

    def reply(self, status: int, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


def key() -> str:
    if "VLLM_API_KEY" in os.environ:
        return os.environ["VLLM_API_KEY"]
    return Path(Handler.given.config).read_text().removeprefix("api-key: ").strip()


def main() -> None:
    given = Handler.given = parse()
    record = Path(given.record)
    Handler.first = not record.exists()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) if given.child else None
    if given.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    start = {
        "pids": [os.getpid(), *([child.pid] if child else [])],
        "words": sys.argv,
        "ranks": "RANK" in os.environ,
    }
    with record.open("a") as file:
        file.write(json.dumps(start) + "\n")
    print(f"serving with the key {key()}", flush=True)
    if given.fails or (given.fails_once and Handler.first):
        print(given.fails or given.fails_once, flush=True)
        sys.exit(3)
    if given.killed:
        os.kill(os.getpid(), signal.SIGKILL)
    if given.never:
        time.sleep(600)
    time.sleep(given.slow)
    ThreadingHTTPServer((given.host, given.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
