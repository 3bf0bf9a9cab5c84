"""The engines as the table has them: how the same command is started on each, and where its processes are."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from unittest.mock import patch

import slurm_cluster
from benchmarks.chaos.attempts import Attempt, Command
from netns import Host, Network, network
from ray_hosts import RayHost, ray_host

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MUSTER_LOCAL_WORKERS": "64",  # no preparation processes on a machine full of runs
    "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
}
SMALL_DISK = "small-disk"
"""A folder of `scratch`: one megabyte."""
HOSTS = {"nodes": 2, "three-nodes": 3}


class Stage(Protocol):
    """Where runs are started."""

    name: str
    says: str

    def start(self, output: Path, options: Sequence[str], said: Path, *, restarts: int = 0) -> Attempt:
        """Start `muster run --output OUTPUT OPTIONS`.

        `said`: a file for its standard output and error; its name is the attempt's. `restarts`: of the whole group, by
        the launcher.
        """
        ...

    def folder(self, scratch: Path) -> Path:
        """Where the run folders of this stage may be."""
        return scratch


def _muster(output: Path, options: Sequence[str]) -> list[str]:
    return ["-m", "muster", "run", "--output", str(output), *options]


class Here(Stage):
    """Without a launcher: `inline` or `local`."""

    def __init__(self, name: str, says: str, options: Sequence[str]) -> None:
        self.name, self.says, self._options = name, says, options

    def start(
        self,
        output: Path,
        options: Sequence[str],
        said: Path,
        *,
        restarts: int = 0,  # noqa: ARG002
    ) -> Attempt:
        """See `Stage`."""
        words = [sys.executable, *_muster(output, [*options, *self._options])]
        return Attempt.start([Command(words, ENVIRONMENT)], said)


class Torchrun(Stage):
    """One node of two ranks."""

    name, says = "torchrun", "torchrun, 2 ranks"

    def start(self, output: Path, options: Sequence[str], said: Path, *, restarts: int = 0) -> Attempt:
        """See `Stage`."""
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        words = [*launcher, f"--max-restarts={restarts}", *_muster(output, options)]
        return Attempt.start([Command(words, ENVIRONMENT)], said)


class Nodes(Stage):
    """torchrun on hosts that share no disk."""

    def __init__(self, name: str, made: Network) -> None:
        self.name, self.says = name, f"torchrun, {len(made.hosts)} hosts of 1 rank"
        self.network = made

    @property
    def hosts(self) -> list[Host]:
        """The first holds rank 0."""
        return self.network.hosts

    def start(self, output: Path, options: Sequence[str], said: Path, *, restarts: int = 0) -> Attempt:
        """See `Stage`."""
        port = random.randint(20_000, 30_000)
        commands = []
        for host in self.hosts:
            place = [f"--node-rank={host.number - 1}", f"--master-addr={self.hosts[0].address}"]
            launcher = [sys.executable, "-m", "torch.distributed.run", f"--nnodes={len(self.hosts)}", *place]
            launcher += [f"--master-port={port}", "--nproc-per-node=1", f"--max-restarts={restarts}"]
            words = host.command(*launcher, *_muster(output, options))
            commands.append(Command(words, host.environment(ENVIRONMENT)))
        return Attempt.start(commands, said)

    def folder(self, scratch: Path) -> Path:  # noqa: ARG002
        """See `Stage`: only the first host sees it."""
        return self.hosts[0].disk


class Ray(Stage):
    """Two actors on a Ray cluster of two raylets, which outlives the runs."""

    name, says = "ray", "Ray, 2 replicas"

    def __init__(self, host: RayHost) -> None:
        self._host = host
        self._start()

    def _start(self) -> None:
        self._head, self._second = self._host.start_node(1, head=True), self._host.start_node(1)

    def start(
        self,
        output: Path,
        options: Sequence[str],
        said: Path,
        *,
        restarts: int = 0,  # noqa: ARG002
    ) -> Attempt:
        """See `Stage`."""
        where = ["--engine", "ray", "--ray-address", self._host.address, "--replicas", "2"]
        words = [*self._host.launcher, *_muster(output, [*options, *where])]
        command = Command(words, {**ENVIRONMENT, **self._host.env})
        return Attempt.start([command], said, self._host.actors)

    def lose_a_node(self) -> None:
        """Kill the second raylet and all that runs on it, and start another."""
        self._second.kill()
        self._second = self._host.start_node(1)

    def lose_the_head(self) -> None:
        """Kill the node that holds the cluster's own services."""
        self._head.kill()

    def make_anew(self) -> None:
        """Another cluster under the same address, once what is left of this one is gone."""
        self._second.kill()
        self._start()


class Slurm(Stage):
    """A job of two nodes that `muster slurm` submits and follows, from a third host."""

    name, says = "slurm", "Slurm, 2 nodes of 1 rank"

    def __init__(self, made: Network, slurm: slurm_cluster.Slurm) -> None:
        self.hosts, self._login, self._slurm = made.hosts[:2], made.hosts[2], slurm

    def start(
        self,
        output: Path,
        options: Sequence[str],
        said: Path,
        *,
        restarts: int = 0,  # noqa: ARG002
    ) -> Attempt:
        """See `Stage`."""
        asked = ["--nodes", "2", "--follow", "--every", "0.5", "--", "--output", str(output), *options]
        words = self._login.command(sys.executable, "-m", "muster", "slurm", *asked)
        return Attempt.start(
            [Command(words, {**self._slurm.environment_of(self._login), **ENVIRONMENT})], said
        )

    def job(self) -> str:
        """The number of the job that isn't over; an empty string where there is none."""
        return self._slurm.run("squeue", "--noheader", "--format", "%i").partition("\n")[0]

    def signal(self, name: str) -> None:
        """`scancel --signal=NAME` of the job, as Slurm does before it takes the nodes away."""
        if job := self.job():
            self._slurm.run("scancel", f"--signal={name}", job)

    def control(self, *words: str) -> None:
        """`scontrol WORDS`."""
        self._slurm.run("scontrol", *words)

    def lose_a_node(self) -> None:
        """The second node loses power, Slurm is told, and it comes back."""
        self.hosts[1].kill()
        self.control("update", "NodeName=n2", "State=DOWN", "Reason=chaos")
        slurm_cluster.start_slurmd(self._slurm, self.hosts[1])


@contextmanager
def stage(name: str, scratch: Path) -> Iterator[Stage]:
    """The stage of this name, gone afterwards."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            _small_disk(scratch / SMALL_DISK)
        )  # before namespaces, which see what there is by then
        match name:
            case "inline":
                yield Here(name, "inline, 1 process", ["--engine", "inline"])
            case "local":
                yield Here(name, "local, 2 workers", ["--engine", "local", "--replicas", "2"])
            case "torchrun":
                yield Torchrun()
            case "nodes" | "three-nodes":
                yield Nodes(name, stack.enter_context(network(scratch / f"hosts-{name}", HOSTS[name])))
            case "slurm":
                made = stack.enter_context(network(scratch / "slurm-hosts", 3))
                yield Slurm(made, slurm_cluster.start_slurm(made, scratch / "slurm", nodes=2))
            case "ray":
                stack.enter_context(patch.dict(os.environ, ENVIRONMENT))  # actors have that of their raylet
                yield Ray(stack.enter_context(ray_host()))
            case _:
                raise ValueError(f"no stage {name!r}")


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "muster-chaos", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
