"""What one process sees of itself and its machine: plain values that travel between ranks as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from muster.machine.ranks import Ranks

Backend = Literal["nccl", "gloo"]
Use = Literal["output", "cache", "tmp", "shm"]


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that held memory of a GPU before Muster touched it; `used` in bytes, None where not told."""

    pid: int
    name: str = ""
    used: int | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as the driver tells; memory in bytes. `entry` is how `CUDA_VISIBLE_DEVICES` names it."""

    entry: str
    uuid: str = ""
    name: str = ""
    total: int = 0
    free: int = 0
    processes: list[GpuProcess] = field(default_factory=list)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Devices:
    """The GPUs of a process. Without a driver `driver` is empty and `problem` says why."""

    expected: str = ""
    """What speaks for GPUs here, such as `CUDA_VISIBLE_DEVICES=0`; empty when nothing does."""
    driver: str = ""
    cuda: str = ""
    """The newest CUDA that the driver supports."""
    problem: str = ""
    nvidia_smi: bool = True
    visible: list[str] = field(default_factory=list)
    bound: list[str] = field(default_factory=list)
    """The part of `visible` that `muster run` would give this process."""
    binding_problem: str = ""
    gpus: list[Gpu] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Network:
    """Where this process talks from, and where the group meets."""

    interface: str = ""
    address: str = ""
    own_name: str = ""
    """What this machine's own host name resolves to; Gloo binds there where no interface is chosen."""
    interface_problems: list[str] = field(default_factory=list)
    meeting: str = ""
    """`host:port` of the rendezvous; empty for a process alone."""
    port_taken_by: str = ""
    """Who listens on the port that this process must open."""
    foreign_master: bool = False
    """This process must host the rendezvous, but MASTER_ADDR is no address of this machine."""
    meeting_problem: str = ""
    """Why this process could not meet the others."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A place that a run writes to; bytes on its file system. `problem` when it can't be used."""

    use: Use
    path: str
    free: int = 0
    total: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Collective:
    """A real all_reduce: how it went, and where it stopped."""

    backend: Backend
    ok: bool
    seconds: float = 0.0
    step: str = ""
    problem: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    """What only an imported torch knows: `cuda`, `nccl`."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one process sees."""

    host: str
    pid: int
    machine: str = ""
    """Tells machines apart that have the same name, and network namespaces of one machine."""
    ranks: Ranks | None = None
    ranks_problem: str = ""
    """Why Muster can't go by the rank variables; `ranks` are then a guess, good enough to meet the others."""
    variables: dict[str, str] = field(default_factory=dict)
    """The rank variables of all launchers, as they are set."""
    accelerate: bool = False
    accelerate_processes: int | None = None
    """What `accelerate launch` was asked for and did not start."""
    cpus: list[int] = field(default_factory=list)
    """The numbers of the CPUs that this process may use."""
    devices: Devices = field(default_factory=Devices)
    replica: str = ""
    """This process's part in the replicas, where `--gpus-per-replica` or `--parallelism` was given."""
    replica_problem: str = ""
    network: Network = field(default_factory=Network)
    folders: list[Folder] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    """Environment variables that must agree, or that explain a failure. Never a secret."""
    skew: float | None = None
    """Seconds that this machine's clock is ahead of rank 0's, the message's own time included."""
    collective: Collective | None = None

    @property
    def rank(self) -> int:
        """The global rank; 0 for a process alone."""
        return self.ranks.rank if self.ranks else 0

    @property
    def node(self) -> str:
        """Processes with the same node count their local ranks together."""
        place = self.variables.get("GROUP_RANK") or self.variables.get("SLURM_NODEID") or ""
        return f"{self.host}/{self.machine}/{place}"
