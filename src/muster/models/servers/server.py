"""One server: started, waited for, watched, ended."""

from __future__ import annotations

import collections
import http.client
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from muster.core import ConfigurationError, LostMemberError
from muster.models.keeper import Keeper
from muster.models.own_environment import own_environment
from muster.models.servers.command import LOOPBACK, Command

log = logging.getLogger(__name__)

TAIL_LINES = 25
"""Of the server's log in an error message."""
LONGEST_LINE = 1000
POLL_SECONDS = 0.25
HEALTH_SECONDS = 5.0
LAST_WORDS_SECONDS = 2.0
STARTS_FOR_A_PORT = 3
PORT_IS_TAKEN = "address already in use"

MakeCommand = Callable[[int, str], Command]
"""The command for a port and a key."""


class Server:
    """A server process, in a session of its own. What it writes goes to this process's log, line by line."""

    def __init__(self, make_command: MakeCommand, name: str, ready_timeout: float) -> None:
        """Start it and wait until it answers.

        Raises:
            ConfigurationError: it ended before that, or took longer than `ready_timeout` seconds; with the log's end.
            LostMemberError: a signal ended it.
        """
        self.name = name
        self._on_end: Callable[[], None] | None = None
        self._lock = threading.Lock()
        for attempt in range(STARTS_FOR_A_PORT):
            self.port, self.key = _free_port(), secrets.token_urlsafe(24)
            self._launch(make_command(self.port, self.key))
            try:
                self._wait_until_ready(ready_timeout)
                break
            except ConfigurationError:
                self.close()
                # Between its choice and its use anybody may have taken the port.
                if attempt + 1 == STARTS_FOR_A_PORT or PORT_IS_TAKEN not in self.tail().lower():
                    raise
            except BaseException:
                self.close()
                raise

    @property
    def url(self) -> str:
        """The base URL of its API."""
        return f"http://{LOOPBACK}:{self.port}/v1"

    @property
    def pid(self) -> int:
        """Its first process."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether its process is gone."""
        return self._process.poll() is not None

    def tail(self) -> str:
        """The end of its log, without the key."""
        return "\n".join(self._tail)

    def how_it_ended(self) -> str:
        """In words, with the end of its log."""
        status = self._process.poll()
        if status is not None:
            self._reader.join(LAST_WORDS_SECONDS)  # longer where a child of it still has the pipe
        if status is None:
            how = "is stuck"
        elif status < 0:
            how = f"was killed by {signal.Signals(-status).name}"
        else:
            how = f"ended with status {status}"
        return f"{self.name} {how}; the end of its log:\n{self.tail()}"

    def on_end(self, tell: Callable[[], None] | None) -> None:
        """Have `tell` called, in another thread, when the process ends; at once where it has ended."""
        with self._lock:
            self._on_end = tell
        if tell is not None and self.ended:
            tell()

    def close(self) -> None:
        """End it with all that it has started: SIGTERM, then SIGKILL. May be called twice."""
        self._keeper.close()
        self._process.wait()
        self._reader.join(POLL_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _launch(self, command: Command) -> None:
        self._tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
        self._folder = Path(tempfile.mkdtemp(prefix="muster-server-"))  # nobody else may look into it
        for name, text in command.files.items():
            (self._folder / name).write_text(text, encoding="utf-8")
        words = [
            str(self._folder / word[1:-1]) if word[:1] == "{" and word[1:-1] in command.files else word
            for word in command.words
        ]
        log.info("starting %s", " ".join(words))
        self._keeper = Keeper(folder=self._folder)
        with own_environment():
            try:
                self._process = subprocess.Popen(
                    words,
                    env={**os.environ, **command.env, "PYTHONUNBUFFERED": "1"},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is this process's to handle, which has answers to wait for
                )
            except OSError as error:
                self._keeper.close()
                shutil.rmtree(self._folder, ignore_errors=True)
                raise ConfigurationError(f"{words[0]} can't be started: {error.strerror or error}") from error
        self._keeper.watch(self._process.pid)
        self._reader = threading.Thread(
            target=self._read, args=(self._process, self._tail), name="muster-server-log", daemon=True
        )
        self._reader.start()
        threading.Thread(
            target=self._watch, args=(self._process,), name="muster-server-watch", daemon=True
        ).start()

    def _read(self, process: subprocess.Popen[bytes], tail: collections.deque[str]) -> None:
        assert process.stdout is not None
        while line := process.stdout.readline(LONGEST_LINE):
            text = line.decode(errors="replace").rstrip().replace(self.key, "***")
            tail.append(text)
            log.info("%s", text)

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        with self._lock:
            tell = self._on_end
        if tell is not None:
            tell()

    def _wait_until_ready(self, timeout: float) -> None:
        began = time.monotonic()
        while not self._healthy():
            if self._process.poll() is not None:
                raise self._ended_early()
            if time.monotonic() - began > timeout:
                raise ConfigurationError(
                    f"{self.name} was not ready within {timeout:.0f} s (--model-args ready_timeout=SECONDS); the end "
                    f"of its log:\n{self.tail()}"
                )
            time.sleep(POLL_SECONDS)
        log.info("%s is ready after %.1f s", self.name, time.monotonic() - began)

    def _ended_early(self) -> Exception:
        status = self._process.returncode
        kind = LostMemberError if status < 0 else ConfigurationError
        return kind(f"before it was ready, {self.how_it_ended()}")

    def _healthy(self) -> bool:
        address = f"http://{LOOPBACK}:{self.port}/health"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the loopback needs no proxy
        request = urllib.request.Request(address, headers={"Authorization": f"Bearer {self.key}"})
        try:
            with opener.open(request, timeout=HEALTH_SECONDS) as answer:
                return int(answer.status) == 200
        except (OSError, http.client.HTTPException):
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
