"""A process beside the replica that prepares its batches.

`generate` of a small model, or of a large one that waits for kernels to be launched, holds the interpreter lock nearly
all the time; what a thread prepares beside it is then added to its time. A process has a lock of its own.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from muster.core import Request
from muster.core.child_process import ChildProcess
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

    def __init__(self, child: ChildProcess) -> None:
        self._child = child
        self._state = "loading"
        # One question at a time: a thread that was left behind may still wait for an answer.
        self._lock = threading.Lock()

    @classmethod
    def start(cls, folder: Path, options: Options, *, trust_remote_code: bool) -> Self | None:
        """Start the process, which loads its processor by itself; None where it can't be started."""
        setup = Setup(
            str(folder.resolve()),
            dict(options.processor),
            options.chat_template,
            dict(options.template_settings),
            trust_remote_code,
            options.video,
        )
        try:
            child = ChildProcess(MODULE, env=ENVIRONMENT)
            child.send(setup)
        except (OSError, ValueError, TypeError) as error:
            log.warning("batches are prepared in a thread: a process for it can't be started (%s)", error)
            return None
        return cls(child)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._child.pid

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
                self._child.send(Work(list(requests), context_limit))
                return receive_prepared(self._child.connection, requests, pin_memory=pin_memory)
            except UnicodeEncodeError:
                return None  # lone surrogates; nothing was sent
            except Exception as error:  # noqa: BLE001 - whatever it is, preparing goes on without the process
                self._lost(error)
                return None

    def close(self) -> None:
        """End the process."""
        self._state = "closed"
        self._child.end()

    def _is_ready(self) -> bool:
        if self._state == "loading" and _readable(self._child.connection):
            try:
                self._child.receive()
                self._state = "ready"
            except (EOFError, OSError) as error:
                self._lost(error)
        return self._state == "ready"

    def _lost(self, error: Exception) -> None:
        if self._state == "closed":
            return
        self._state = "lost"
        status = self._child.end()
        log.warning(
            "the process that prepares batches (%d) is gone, status %s (%s: %s); a thread goes on in its place",
            self.pid,
            status,
            type(error).__name__,
            error,
        )


def _readable(connection: socket.socket) -> bool:
    """Whether something has come, the end included."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
