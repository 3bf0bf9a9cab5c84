"""Several replicas on this machine, one process each."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping

from muster.coordinator.coordinator import Coordinator
from muster.engines.children import Child
from muster.engines.cluster import Cluster, Expected
from muster.engines.job import Job
from muster.engines.loop import run_to_end
from muster.engines.placement import Shape
from muster.machine.gpus import share, visible_gpus
from muster.models.registry import uses_gpus
from muster.wire.endpoint import LOOPBACK
from muster.worker.joining import Start


class LocalEngine:
    """Implements `Engine` with worker processes that it starts, watches and replaces, and with those that join."""

    name = "local"

    def execute(self, coordinator: Coordinator, job: Job, on_sync: Callable[[], None]) -> None:
        """See `Engine`."""
        secret = secrets.token_bytes(32)
        cluster = Cluster(coordinator, job, secret, Expected(timeout=job.rendezvous_timeout))
        count = min(job.replicas, len(coordinator.workload))  # one without work would only load the model
        run_to_end(lambda: self._execute(cluster, secret, job, count, on_sync), cluster.interrupt)

    def announce_end(self) -> None:
        """Nobody comes by himself."""

    def close(self, error: BaseException | None) -> None:
        """Nothing is left to be done."""

    async def _execute(
        self, cluster: Cluster, secret: bytes, job: Job, count: int, on_sync: Callable[[], None]
    ) -> None:
        port = await cluster.server.start(LOOPBACK)
        gpus = visible_gpus() if uses_gpus(job.backend, job.settings.args) else []
        processes = Shape(job.settings.gpus_per_replica, job.settings.parallelism).processes
        children = [
            Child(
                Start(f"worker-{rank}", rank, [(LOOPBACK, port)], secret.hex()),
                child_environment(share(gpus, rank, job.replicas, job.gpus_each), job.replicas, processes),
                job.folder.log(f"worker-{rank}"),
            )
            for rank in range(count)
        ]
        await cluster.run(children, on_sync)


def child_environment(gpus: list[str], replicas: int, processes: int = 1) -> Mapping[str, str]:
    """A worker's devices, and its share of the cores where the user set no thread count.

    With so many `processes` for each replica, which share it in turn.
    """
    replicas *= processes
    env: dict[str, str] = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
    if "OMP_NUM_THREADS" not in os.environ:
        env["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // replicas))
    env["MUSTER_LOCAL_WORKERS"] = str(replicas)
    env["TOKENIZERS_PARALLELISM"] = os.environ.get("TOKENIZERS_PARALLELISM", "false")
    return env
