"""One replica as a Ray actor: Ray places, starts and watches it; work and answers take Muster's own connection."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from muster.core.child_process import describe_exit
from muster.engines.ray_resources import Need
from muster.engines.replica import Replica
from muster.machine.ranks import host_name
from muster.wire.transport import HandshakeError
from muster.worker.joining import Start, connect_to_any
from muster.worker.worker import run_worker

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ray.actor import ActorHandle

log = logging.getLogger(__name__)

_STACK_SECONDS = 10.0
"""What a stuck worker is given to send its stack, which the coordinator has asked for."""
_END_SECONDS = 3.0
_PARENT_SECONDS = 0.5


class WorkerProcess:
    """What runs in the actor's process: one worker, from its start to its end."""

    def host(self) -> str:
        """The node that Ray has placed it on."""
        return host_name()

    def work(self, start: bytes, folder: str, threads: int) -> str:
        """Work until the run is over; returns how it ended, in words.

        Args:
            start: a `Start` as JSON.
            folder: the driver's working directory, to be entered where this node has it.
            threads: how many each process of the model may use, given the CPUs that Ray has reserved.
        """
        _end_with_parent()
        os.environ["OMP_NUM_THREADS"] = str(threads)
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        logging.getLogger().setLevel(logging.INFO)  # Ray has configured logging before
        if Path(folder).is_dir():
            os.chdir(folder)
            _nothing_shadowed(folder)
        told = msgspec.json.decode(start, type=Start)
        try:
            connect_to_any(told.addresses, bytes.fromhex(told.secret)).close()
        except (OSError, HandshakeError) as error:
            where = " or ".join(f"{host}:{port}" for host, port in told.addresses)
            return f"could not reach the coordinator at {where} from {host_name()}: {error}"
        return describe_exit(run_worker(told))


def _nothing_shadowed(folder: str) -> None:
    """Ray puts the driver's folder first in the module path: last it is found too, and takes no library's place."""
    sys.path[:] = [*(each for each in sys.path if each not in ("", folder)), folder]


def _end_with_parent() -> None:
    """End this process when its node's Ray has ended, for which Ray itself would wait until the work is done."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="muster-parent-watch", daemon=True).start()


@dataclass(slots=True)
class ActorReplica(Replica):
    """Implements `Replica` with a Ray actor. An actor may have to wait for a node that has room for it."""

    need: Need
    _actor: ActorHandle | None = field(default=None, init=False, repr=False)
    _placed: Future[str] | None = field(default=None, init=False, repr=False)
    _ended: asyncio.Future[str] | None = field(default=None, init=False, repr=False)

    @property
    def running(self) -> bool:
        """Whether Ray has placed the actor and it has not ended."""
        return (
            self._placed is not None
            and self._placed.done()
            and self._ended is not None
            and not self._ended.done()
        )

    @property
    def waiting(self) -> bool:
        """Whether Ray has not placed the actor yet."""
        return self._placed is not None and not self._placed.done()

    async def launch(self) -> None:
        """Ask Ray for the actor; it begins to work when it is placed."""
        import ray

        # Ray restarts nothing by itself: whether a start bears fruit is known to the coordinator alone.
        options = {"max_restarts": 0, "max_task_retries": 0, "scheduling_strategy": "SPREAD"}
        actor = ray.remote(WorkerProcess).options(num_cpus=self.need.cpus, num_gpus=self.need.gpus, **options)
        self._actor = actor.remote()
        self._placed = self._actor.host.remote().future()
        work = self._actor.work.remote(
            msgspec.json.encode(self.start), str(Path.cwd()), self.need.cpus // self.need.processes
        )
        self._ended = asyncio.wrap_future(work.future())
        self._ended.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # never unread

    async def wait(self) -> str:
        """Wait for the actor's end, however long it takes Ray to place it; see `Replica`."""
        from ray.exceptions import RayError

        assert self._ended is not None
        try:
            return await asyncio.shield(self._ended)
        except RayError as error:
            return describe_death(str(error))
        finally:
            self.kill()  # an actor that has nothing more to do still holds its GPUs

    async def abort(self) -> None:
        """End the actor, after a moment for the stack that the coordinator asked for."""
        if self._ended is None or self._ended.done():
            return
        if self.running:
            await asyncio.wait([self._ended], timeout=_STACK_SECONDS)
        self.kill()
        await asyncio.wait([self._ended], timeout=_END_SECONDS)

    def kill(self) -> None:
        """End the actor at once, or no longer ask for it."""
        import ray

        if self._actor is not None:
            ray.kill(self._actor)
            self._actor = None


def describe_death(message: str) -> str:
    """The part of Ray's message about a lost actor that tells why, in one line."""
    text = " ".join(message.split())
    for opening in ("The actor is dead because ", "The actor died because ", "is unavailable: "):
        _before, found, after = text.partition(opening)
        if found:
            text = after
            break
    for chatter in (" Some common causes include", " The node IP address"):
        text = text.partition(chatter)[0]
    return f"was lost by Ray: {text[:400]}"
