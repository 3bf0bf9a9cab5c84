"""Workers that a launcher started: torchrun, accelerate, srun, mpirun, anything that sets ranks.

Rank 0's process is the coordinator and starts a child that works in its place, so that the coordinator shares no
interpreter lock with a model. The child tells the other ranks, through the launcher's rendezvous, where the
coordinator is; from then on they talk to it directly.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from muster.core import InterruptedRunError, RunError
from muster.distributed import rendezvous
from muster.distributed.coordinator import Coordinator
from muster.distributed.devices import bind, share, visible_gpus
from muster.distributed.environment import Ranks, host_name, master_address
from muster.distributed.interfaces import interface_address
from muster.distributed.wire import HandshakeError
from muster.distributed.worker import Start, connect_to_any, run_worker
from muster.engines.children import Child
from muster.engines.cluster import Cluster, Expected
from muster.engines.job import Job

log = logging.getLogger(__name__)


class SpmdEngine:
    """Implements `Engine` on rank 0 of a group that a launcher started."""

    name = "torchrun"

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks

    def execute(self, coordinator: Coordinator, job: Job, on_sync: Callable[[], None]) -> None:
        """See `Engine`."""
        asyncio.run(self._execute(coordinator, job, on_sync))

    async def _execute(self, coordinator: Coordinator, job: Job, on_sync: Callable[[], None]) -> None:
        ranks, secret = self._ranks, secrets.token_bytes(32)
        others = frozenset(worker_name(rank) for rank in range(1, ranks.world_size))
        cluster = Cluster(coordinator, job, secret, Expected(others, job.rendezvous_timeout))
        bound, hosts = listen_addresses(ranks)
        port = await cluster.server.start(bound)
        start = Start(
            worker_name(0),
            0,
            [("127.0.0.1" if bound == "0.0.0.0" else bound, port)],  # noqa: S104
            secret.hex(),
            publish=[(host, port) for host in hosts],
            rendezvous_timeout=job.rendezvous_timeout,
        )
        atexit.register(_end_stragglers, coordinator)
        child = Child(start, _devices(ranks, job.settings.args), job.folder.log(worker_name(0)))
        await cluster.run([child], on_sync)


def serve_rank(ranks: Ranks, model_args: Mapping[str, object], rendezvous_timeout: float) -> int:
    """Work as one of the other ranks until the run is over; returns the exit status.

    Raises:
        RunError: rank 0 never came.
        ConfigurationError: more processes on this node than GPUs.
    """
    interrupted: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: interrupted.append(number))
    devices = _devices(ranks, model_args)
    if "CUDA_VISIBLE_DEVICES" in devices:
        bind(devices["CUDA_VISIBLE_DEVICES"].split(","))
    meeting = rendezvous.join(ranks, rendezvous_timeout, _answers)
    if interrupted:
        raise InterruptedRunError(f"rank {ranks.rank} was told to stop", interrupted[0])
    start = Start(worker_name(ranks.rank), ranks.rank, meeting.addresses, meeting.secret, ship_logs=True)
    return run_worker(start)


def _end_stragglers(coordinator: Coordinator) -> None:
    """End ranks on this host that were given up and still exist, or the launcher would wait for them for ever.

    Runs when everything is written: the launcher answers a killed rank by ending the whole group.
    """
    for worker in coordinator.workers.values():
        if worker.state != "lost" or worker.host != host_name() or worker.rank == 0:
            continue
        try:
            command = Path(f"/proc/{worker.pid}/cmdline").read_bytes()
            if b"muster" in command:  # and not somebody who got the number since
                os.kill(worker.pid, signal.SIGKILL)
        except OSError as error:
            log.debug("%s is gone: %s", worker.name, error)


def worker_name(rank: int) -> str:
    """A worker is named after its global rank."""
    return f"worker-{rank}"


def _answers(meeting: rendezvous.Meeting) -> bool:
    try:
        connect_to_any(meeting.addresses, bytes.fromhex(meeting.secret)).close()
    except (OSError, HandshakeError) as error:
        log.debug("nobody at %s yet: %s", meeting.addresses, error)
        return False
    return True


def _devices(ranks: Ranks, model_args: Mapping[str, object]) -> dict[str, str]:
    gpus = [] if model_args.get("device") == "cpu" else visible_gpus()
    mine = share(gpus, ranks.local_rank, ranks.local_world_size)
    return {"CUDA_VISIBLE_DEVICES": ",".join(mine)} if mine else {}


def listen_addresses(ranks: Ranks, env: Mapping[str, str] = os.environ) -> tuple[str, list[str]]:
    """Where rank 0 listens, and the hosts under which the others may find it, best first.

    One node needs only the loopback. On several, the interface that the user chose for Gloo or NCCL is used,
    or all interfaces: whoever connects must know the run's secret.
    """
    if ranks.local_world_size == ranks.world_size:
        return "127.0.0.1", ["127.0.0.1"]
    chosen = interface_address(env)
    if chosen is not None:
        return chosen, [chosen]
    master = master_address(ranks, env)[0]
    try:
        own = socket.gethostbyname(socket.gethostname())
    except OSError as error:
        raise RunError(f"this node's own name {socket.gethostname()!r} has no address: {error}") from error
    return "0.0.0.0", list(dict.fromkeys([master, own, socket.gethostname()]))  # noqa: S104
