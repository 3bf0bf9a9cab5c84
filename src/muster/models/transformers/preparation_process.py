"""A process beside the replica that prepares its batches.

`generate` of a small model, or of a large one that waits for kernels to be launched, holds the interpreter lock nearly
all the time; what a thread prepares beside it is then added to its time. A process has a lock of its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import subprocess
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from muster.core import Request
from muster.core.framing import receive_header, send_frame
from muster.core.own_python import own_module
from muster.models.transformers.options import Options
from muster.models.transformers.preparation import Prepared
from muster.models.transformers.preparation_messages import Setup, Work, receive_prepared

log = logging.getLogger(__name__)

MODULE = "muster.models.transformers.preparation_child"
ENVIRONMENT = {
    # It is to use one core, and no memory of any GPU.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "",
}


class PreparationProcess:
    """Prepares batches in another process while that is alive, and says so when it can't."""

    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket) -> None:
        self._process = process
        self._connection = connection
        self._state = "loading"
        # One question at a time: a thread that was left behind may still wait for an answer.
        self._lock = threading.Lock()
        self._end = weakref.finalize(self, _end, process, connection)

    @classmethod
    def start(cls, folder: Path, options: Options, *, trust_remote_code: bool) -> Self | None:
        """Start the process, which loads its processor by itself; None where it can't be started."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = subprocess.Popen(
                    own_module(MODULE, str(theirs.fileno())),
                    stdin=subprocess.DEVNULL,
                    stdout=2,  # what a library prints is not to mix with the output of a run
                    env={**os.environ, **ENVIRONMENT},
                    pass_fds=[theirs.fileno()],
                )
            started = cls(process, ours)
            setup = Setup(
                str(folder.resolve()),
                dict(options.processor),
                options.chat_template,
                dict(options.template_settings),
                trust_remote_code,
                options.video,
            )
            send_frame(ours, setup)
        except (OSError, ValueError, TypeError) as error:
            ours.close()
            log.warning("batches are prepared in a thread: a process for it can't be started (%s)", error)
            return None
        return started

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def ready(self) -> bool:
        """Whether it is alive and has loaded its processor, as far as is known without waiting."""
        with self._lock:
            return self._is_ready()

    def prepare(
        self, requests: Sequence[Request], context_limit: int | None, *, pin_memory: bool
    ) -> Prepared | None:
        """What `Preparer.prepare` makes of these requests, but for the rows' prompts and images.

        None while the process is loading, after it died (which is told once), and for what can't travel; then the
        caller has to prepare them.
        """
        with self._lock:
            try:
                if not self._is_ready():
                    return None
                send_frame(self._connection, Work(list(requests), context_limit))
                return receive_prepared(self._connection, requests, pin_memory=pin_memory)
            except UnicodeEncodeError:
                return None  # lone surrogates; nothing was sent
            except Exception as error:  # noqa: BLE001 - whatever it is, preparing goes on without the process
                self._lost(error)
                return None

    def close(self) -> None:
        """End the process."""
        self._state = "closed"
        self._end()

    def _is_ready(self) -> bool:
        if self._state == "loading" and _readable(self._connection):
            try:
                receive_header(self._connection)
                self._state = "ready"
            except (EOFError, OSError) as error:
                self._lost(error)
        return self._state == "ready"

    def _lost(self, error: Exception) -> None:
        if self._state == "closed":
            return
        self._state = "lost"
        self._end()
        log.warning(
            "the process that prepares batches (%d) is gone, status %s (%s: %s); a thread goes on in its place",
            self.pid,
            self._process.returncode,
            type(error).__name__,
            error,
        )


def _readable(connection: socket.socket) -> bool:
    """Whether something has come, the end included."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _end(process: subprocess.Popen[bytes], connection: socket.socket) -> None:
    """Kill and reap: the process has nothing to save."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for an answer
    process.kill()
    process.wait()
    connection.close()
