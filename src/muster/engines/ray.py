"""Replicas on a Ray cluster, one actor each, or on this machine with a Ray of their own."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from muster.config import RunConfig
from muster.coordinator.coordinator import Coordinator
from muster.core import ConfigurationError, InterruptedRunError, MissingExtraError, RunError
from muster.engines.cluster import Cluster, Expected
from muster.engines.job import Chosen, Job
from muster.engines.placement import Asked, Shape
from muster.engines.ray_actor import ActorReplica
from muster.engines.ray_resources import Need, Node, need_of_replica, node_from, room
from muster.models.registry import uses_gpus
from muster.wire.endpoint import LOOPBACK
from muster.worker.joining import Start

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""How often the cluster's nodes are looked at."""
_CONNECT_SECONDS = 10.0


def choose(config: RunConfig) -> Chosen:
    """`--engine ray`. Raises `ConfigurationError`."""
    if config.replicas == 0:
        raise ConfigurationError("--engine ray --replicas 0: Ray places at least one replica")
    if config.schedule != "dynamic" and config.replicas is None:
        raise ConfigurationError(
            f"--schedule {config.schedule} divides the samples before the start: with --engine ray, where nodes come "
            "and go, say --replicas"
        )
    asked = Asked.by(config)
    if asked.spread and asked.gpus is None:
        raise ConfigurationError(
            "a model that is spread over several GPUs, and --engine ray: say with --gpus-per-replica how many each "
            "replica takes"
        )
    shape = asked.shape(0, 1)
    return Chosen(RayEngine(config.ray_address, config.replicas, shape), config.replicas or 1, shape)


class RayEngine:
    """Implements `Engine` with Ray actors: placed and watched by Ray, replaced when they die, more when nodes join."""

    name = "ray"

    def __init__(self, address: str | None, replicas: int | None, shape: Shape) -> None:
        """Without an address Ray is started here, for this run; without `replicas` there are as many as fit.

        Raises:
            MissingExtraError: Ray is not installed.
            ConfigurationError: an address of Ray Client.
        """
        if importlib.util.find_spec("ray") is None:
            raise MissingExtraError("the Ray engine", "ray")
        if address is not None and "://" in address:
            raise ConfigurationError(
                f"--ray-address {address}: Ray Client is not supported, because the replicas must reach this "
                "process: run Muster on a node of the cluster with --ray-address auto, for example with "
                "`ray job submit -- muster run …`"
            )
        self._address, self._replicas, self._shape = address, replicas, shape

    def execute(self, coordinator: Coordinator, job: Job, on_sync: Callable[[], None]) -> None:
        """See `Engine`."""
        with _messages_in(job.folder.log("ray")), _connected(self._address, job.replicas) as host:
            asyncio.run(self._execute(coordinator, job, on_sync, host))

    def announce_end(self) -> None:
        """Nobody comes by himself."""

    def close(self, error: BaseException | None) -> None:
        """Nothing is left to be done."""

    async def _execute(
        self, coordinator: Coordinator, job: Job, on_sync: Callable[[], None], host: str
    ) -> None:
        secret = secrets.token_bytes(32)
        cluster = Cluster(coordinator, job, secret, Expected())
        port = await cluster.server.start(host)
        start = Start("", 0, [(host, port)], secret.hex(), ship_logs=True)
        crew = _Crew(cluster, coordinator, job, start, self._replicas, self._shape)
        watch = asyncio.create_task(crew.watch())
        try:
            await cluster.run(crew.recruits(_nodes()), on_sync)
        finally:
            watch.cancel()


class _Crew:
    """The replicas of one run: as many as asked for or as fit, and more when there is room for more."""

    def __init__(
        self,
        cluster: Cluster,
        coordinator: Coordinator,
        job: Job,
        start: Start,
        replicas: int | None,
        shape: Shape,
    ) -> None:
        self._cluster, self._coordinator, self._job = cluster, coordinator, job
        self._start, self._wanted = start, replicas
        gpus = shape.gpus if uses_gpus(job.backend, job.settings.args) else 0
        self._need = _need(replicas, gpus, shape.processes)
        self._replicas: list[ActorReplica] = []

    def recruits(self, nodes: list[Node]) -> list[ActorReplica]:
        """Replicas to add now, given these nodes."""
        progress = self._coordinator.progress
        most = min(self._wanted or max(1, room(nodes, self._need)), progress.total - progress.done)
        new = []
        for _ in range(most - sum(not self._has_left(replica) for replica in self._replicas)):
            rank = len(self._replicas)
            start = Start(f"worker-{rank}", rank, self._start.addresses, self._start.secret, ship_logs=True)
            new.append(ActorReplica(start, self._need))
            self._replicas.append(new[-1])
        return new

    def _has_left(self, replica: ActorReplica) -> bool:
        """Whether it ended in good order, as it does when its node is drained."""
        worker = self._coordinator.workers.get(replica.name)
        return worker is not None and worker.has_left

    async def watch(self) -> None:
        """Add replicas while the run goes on; end it when Ray has placed none for too long."""
        seen = began = time.monotonic()
        forgotten = False
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            if self._cluster.server.connected:
                seen = now
            elif now - seen > self._job.rendezvous_timeout:
                self._cluster.fail(RunError(await asyncio.to_thread(self._nobody_came)))
                return
            if now - began > self._job.rendezvous_timeout and not forgotten:
                forgotten = True
                self._coordinator.forget_absent()  # static schedules: others do what they would have done
                self._cluster.server.unpark()
            self._notice()
            nodes = await asyncio.to_thread(
                _nodes
            )  # never returns when the head is gone: Ray ends this process
            if not (self._coordinator.draining or self._coordinator.finished):
                for replica in self.recruits(nodes):
                    log.info("there is room for %s", replica.name)
                    await self._cluster.add(replica)

    def _notice(self) -> None:
        waiting = sum(replica.waiting for replica in self._replicas)
        progress = self._coordinator.progress
        if waiting and not progress.notice:
            progress.notice = f"Ray has not placed {waiting} replica(s) yet ({self._need} each)"
        elif not waiting and progress.notice.startswith("Ray has not placed"):
            progress.notice = ""

    def _nobody_came(self) -> str:
        present = _nodes()
        nodes = ", ".join(f"{node.cpus} CPU and {node.gpus} GPU" for node in present) or "none"
        most = max((node.gpus for node in present), default=0)
        too_many = (
            f" No node has {self._need.gpus} GPUs: lower --gpus-per-replica."
            if self._need.gpus > most
            else ""
        )
        return (
            f"no replica has worked for {self._job.rendezvous_timeout:.0f} s (--rendezvous-timeout): each needs "
            f"{self._need} on one node, and Ray has placed none. The cluster's nodes have, in all: {nodes}.{too_many} "
            "Look at `ray status`; OMP_NUM_THREADS says how many CPUs a replica takes. What was answered is kept: run "
            "the same command again to go on"
        )


@contextmanager
def _messages_in(file: Path) -> Iterator[None]:
    """Ray prints what its nodes report to standard output, which is the results' (`--json`)."""
    with file.open("a", encoding="utf-8") as messages, redirect_stdout(messages):
        yield


@contextmanager
def _connected(address: str | None, replicas: int) -> Iterator[str]:
    """A connection to Ray, and the address at which its nodes can reach this process.

    A Ray that was started here ends with the context; a user's cluster stays as it is.
    """
    import ray

    if ray.is_initialized():  # the user's notebook has done it
        yield ray.util.get_node_ip_address()
        return
    try:
        with _handler_kept(signal.SIGTERM):
            if address is None:
                cpus = max(len(os.sched_getaffinity(0)), replicas * (_threads() or 1))
                ray.init("local", num_cpus=cpus, include_dashboard=False, **_QUIET)
            else:
                _check_reached(address)
                ray.init(address, **_QUIET)
    except Exception as error:  # Ray raises this itself where a node isn't up in thirty seconds
        what = f"no Ray cluster at {address}" if address else "Ray could not be started"
        raise ConfigurationError(
            f"{what}: {error}. --ray-address is the address of the head node (HOST:6379), or `auto` on a node of "
            "the cluster; without it, and without RAY_ADDRESS, Muster starts a Ray of its own"
        ) from error
    try:
        yield LOOPBACK if address is None else ray.util.get_node_ip_address()
    finally:
        ray.shutdown()


def _check_reached(address: str) -> None:
    """Raise `OSError` where nobody listens, for which Ray itself would wait for minutes."""
    host, _colon, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()


_QUIET = {"log_to_driver": False, "configure_logging": False}


@contextmanager
def _handler_kept(number: signal.Signals) -> Iterator[None]:
    """Ray's own handler, which ends the process with another status, only stays while Ray starts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = signal.getsignal(number)
    try:
        yield
    except SystemExit as error:
        raise InterruptedRunError(f"interrupted by {number.name} while Ray started", number) from error
    finally:
        signal.signal(number, kept)


def _nodes() -> list[Node]:
    import ray

    return [node_from(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def _need(replicas: int | None, gpus_per_replica: int, processes: int) -> Need:
    import ray

    return need_of_replica(
        _nodes(),
        gpus_per_replica=gpus_per_replica,
        processes=processes,
        replicas=replicas,
        free_cpus=int(ray.available_resources().get("CPU", 0)),
        threads=_threads(),
    )


def _threads() -> int | None:
    """What the user set as OMP_NUM_THREADS."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) > 0 else None
