"""Workers that a launcher started: torchrun, accelerate, srun, mpirun, anything that sets ranks.

No rank is its model's process: each starts a child that works in its place, so that a model may die without its
launcher ending the whole group. Rank 0's process is the coordinator. Its child tells those of the other ranks, through
the launcher's rendezvous, where the coordinator is, if they weren't told in their environment; from then on they talk
to it directly.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from muster.coordinator.coordinator import Coordinator
from muster.core import ConfigurationError, InterruptedRunError, RunError
from muster.core.interruption import handling
from muster.core.saying import tell
from muster.engines.children import Child
from muster.engines.cluster import Cluster, Expected
from muster.engines.job import Job
from muster.engines.late_ranks import LateRanks
from muster.engines.leftover_ranks import end_leftover_ranks, siblings
from muster.engines.placement import RankPlacement
from muster.engines.supervision import Supervisor
from muster.machine import rendezvous
from muster.machine.given_coordinator import ADDRESS, GivenCoordinator, given_coordinator
from muster.machine.interfaces import (
    chosen_by,
    describe_interfaces,
    interface_address,
    interface_addresses,
    is_loopback,
)
from muster.machine.ranks import Ranks, master_address
from muster.worker.joining import Start
from muster.worker.worker import EXIT_ALONE, OVER_SECONDS

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 60.0
"""How long ranks stay, when all is over, for others that the launcher started and that never came."""
_SOON_SECONDS = 10.0
"""Within these torchrun ends all ranks because rank 0 has refused to begin, and has said why."""
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""Where this machine's own worker finds what listens at all addresses."""
LEAVE_SECONDS = OVER_SECONDS + 2.0
"""What a rank that was told that all is over may take to end by itself, in good order for the launcher."""


class SpmdEngine:
    """Implements `Engine` on rank 0 of a group that a launcher started."""

    name = "torchrun"

    def __init__(self, seat: RankPlacement) -> None:
        """Raises `ConfigurationError` where the address that was given to the ranks can't be used."""
        self._seat, self._ranks = seat, seat.ranks
        self._given = given_coordinator()
        self._agents_store = self._given is None and rendezvous.uses_agent_store()
        self._coordinator: Coordinator | None = None
        self._late_ranks: LateRanks | None = None
        self._patient_until = time.monotonic() + _PATIENCE_SECONDS

    def execute(self, coordinator: Coordinator, job: Job, on_sync: Callable[[], None]) -> None:
        """See `Engine`."""
        self._coordinator = coordinator
        self._patient_until = time.monotonic() + job.rendezvous_timeout
        asyncio.run(self._execute(coordinator, job, on_sync))

    def announce_end(self) -> None:
        """See `Engine`."""
        if self._late_ranks is not None:
            return
        workers = self._coordinator.workers if self._coordinator is not None else {}
        if self._agents_store:
            left = sum(worker.has_left for worker in workers.values())
            if left < len(self._seat.leading_ranks):
                self._late_ranks = LateRanks(0, rank_variables(self._ranks))
        elif absent := sum(worker_name(rank) not in workers for rank in self._seat.leading_ranks[1:]):
            self._late_ranks = LateRanks(absent, rank_variables(self._ranks))

    def close(self, error: BaseException | None) -> None:
        """Let go of the ranks that never came or never left."""
        # torchrun ends them all, SIGKILL included, when this process ends with its failure.
        killed = error is not None and rendezvous.uses_agent_store()
        ended = killed or isinstance(
            error, InterruptedRunError
        )  # a signal is the launcher's: the others have it too
        patience = max(0.0, min(_PATIENCE_SECONDS, self._patient_until - time.monotonic()))
        if not ended:
            self.announce_end()
        if self._late_ranks is not None:
            self._late_ranks.end(0.0 if ended else patience)
        if not killed:
            # All of them: one may have stopped for good after its last answer, and nobody misses it.
            end_leftover_ranks(range(1, self._ranks.world_size), max(LEAVE_SECONDS, patience))

    async def _execute(self, coordinator: Coordinator, job: Job, on_sync: Callable[[], None]) -> None:
        ranks = self._ranks
        others = {worker_name(rank): rank for rank in self._seat.leading_ranks[1:]}
        replicas = {worker_name(rank): number for number, rank in enumerate(self._seat.leading_ranks)}
        secret = self._given.key if self._given is not None else secrets.token_bytes(32)
        cluster = Cluster(coordinator, job, secret, Expected(others, job.rendezvous_timeout, replicas))
        hosts: list[str] = []
        if self._given is not None:
            bound = self._given.listen_host()
            port = await _listen_as_given(cluster, self._given, bound)
        else:
            bound, hosts = listen_addresses(ranks)
            if not self._agents_store:
                _check_port_is_free(ranks)
            port = await cluster.server.start(bound)
        start = Start(
            worker_name(0),
            0,
            [(_EVERYWHERE.get(bound, bound), port)],
            secret.hex(),
            publish=[(host, port) for host in hosts],
            rendezvous_timeout=job.rendezvous_timeout,
        )
        env = _devices(self._seat) | rank_variables(ranks)
        child = Child(start, env, job.folder.log(worker_name(0)))
        await cluster.run([child], on_sync)


def serve_rank(seat: RankPlacement, rendezvous_timeout: float, worker_timeout: float) -> int:
    """Keep a worker going as one of the other ranks until the run is over; returns the exit status.

    It is 0 also where the worker had to be given up: how the run ended is rank 0's to say, and a launcher would restart
    or end all the others.

    Raises:
        ConfigurationError: there is no way to know where to meet.
    """
    ranks = seat.ranks
    if not seat.leads:
        first = ranks.rank - ranks.local_rank % seat.ranks_per_replica
        sys.stderr.write(
            f"rank {ranks.rank}: rank {first} feeds the replica of ranks {first} to "
            f"{first + seat.ranks_per_replica - 1} ({seat.shape}); this process is not needed and ends\n"
        )
        return 0
    if given_coordinator() is None:
        master_address(ranks)
    if ranks.local_world_size != ranks.world_size:
        _warn_of_a_wrong_interface()
    name = worker_name(ranks.rank)
    start = Start(name, seat.replica, rendezvous_timeout=rendezvous_timeout, ship_logs=True)
    supervisor = Supervisor(start, _devices(seat) | rank_variables(ranks), worker_timeout, _say)
    status = asyncio.run(_serve(supervisor))
    if not siblings({0}):  # on its own node rank 0 does this itself, when everything is written
        end_leftover_ranks(supervisor.missing, _PATIENCE_SECONDS)
    return status


async def _serve(supervisor: Supervisor) -> int:
    received: list[int] = []
    loop = asyncio.get_running_loop()

    def pass_on(number: int) -> None:
        received.append(number)
        loop.call_soon_threadsafe(supervisor.stop)

    with handling(pass_on):
        return await _worked(supervisor, received)


async def _worked(supervisor: Supervisor, received: Sequence[int]) -> int:
    began = time.monotonic()
    ended = await supervisor.work()
    if received:
        soon = rendezvous.uses_agent_store() and time.monotonic() - began < _SOON_SECONDS
        if not supervisor.met and not soon:
            _say("told to stop while waiting for rank 0")
        return 128 + received[0]
    match ended:
        case "left":
            return supervisor.status
        case "over":
            return 0
        case "given up" if supervisor.met:
            await supervisor.until_over()
            return 0
        case "given up":
            return supervisor.status or EXIT_ALONE
        case "alone":
            return EXIT_ALONE
        case "gone":  # a worker that began while the others finished has found nobody
            return EXIT_ALONE if supervisor.status == EXIT_ALONE and supervisor.starts == 1 else 0


def _say(line: str) -> None:
    tell(line)


def _warn_of_a_wrong_interface() -> None:
    try:
        interface_address()
    except ConfigurationError as error:
        log.warning("%s. Only --collect gather needs it on this node", error)


def worker_name(rank: int) -> str:
    """A worker is named after its global rank."""
    return f"worker-{rank}"


def rank_variables(ranks: Ranks) -> dict[str, str]:
    """The variables that torchrun sets, for a process that stands in for this rank and wouldn't see its own."""
    if ranks.launcher != "accelerate":
        return {}
    return {
        "RANK": str(ranks.rank),
        "WORLD_SIZE": str(ranks.world_size),
        "LOCAL_RANK": str(ranks.local_rank),
        "LOCAL_WORLD_SIZE": str(ranks.local_world_size),
    }


async def _listen_as_given(cluster: Cluster, given: GivenCoordinator, host: str) -> int:
    try:
        return await cluster.server.start(host, given.endpoint.port)
    except OSError as error:
        raise RunError(
            f"{ADDRESS}={given.endpoint}: can't listen there ({error.strerror or error}). If another run does, choose "
            "another port on all ranks"
        ) from error


def _check_port_is_free(ranks: Ranks) -> None:
    """Say at once what else would be found in a worker's log, three starts later."""
    host, port = master_address(ranks)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise RunError(
                f"the rendezvous port {port} on {host} is taken ({error.strerror}): export another MASTER_PORT on "
                "all ranks, or end what listens there"
            ) from error


def _devices(seat: RankPlacement) -> dict[str, str]:
    devices = {"CUDA_VISIBLE_DEVICES": ",".join(seat.gpus)} if seat.gpus else {}
    return {**devices, "MUSTER_LOCAL_WORKERS": str(seat.local_processes)}


def listen_addresses(ranks: Ranks, env: Mapping[str, str] = os.environ) -> tuple[str, list[str]]:
    """Where rank 0 listens, and the hosts under which the others may find it, best first.

    One node needs only the loopback. On several, the interface that the user chose for Gloo or NCCL is used,
    or all interfaces: whoever connects must know the run's secret.

    Raises:
        ConfigurationError: the chosen interface doesn't exist, or no other node can reach it.
    """
    if ranks.local_world_size == ranks.world_size:
        return "127.0.0.1", ["127.0.0.1"]
    chosen = interface_address(env)
    master = master_address(ranks, env)[0]
    if chosen is not None:
        if is_loopback(chosen) and not is_loopback(master):
            variable = chosen_by(env) or ""
            raise ConfigurationError(
                f"{variable}={env[variable]} is the loopback, which other nodes can't reach: name the interface that "
                f"joins the nodes. There are: {describe_interfaces()}"
            )
        return chosen, [chosen]
    own = [address for address in interface_addresses().values() if not is_loopback(address)]
    return "0.0.0.0", list(dict.fromkeys([master, *own, socket.gethostname()]))  # noqa: S104
