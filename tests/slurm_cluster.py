"""A real Slurm on the hosts of `netns`: a controller on the first, one slurmd on each, without systemd.

Everything (configuration, sockets, state, logs) lies in the test's own folder, and every daemon runs inside the
hosts' namespaces, so that it ends with them. No node's name is in any name service.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from netns import Host, Network

TOOLS = ("slurmctld", "slurmd", "srun", "sbatch", "scontrol", "munged")
needs_slurm = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in TOOLS), reason="needs Slurm (Debian: slurm-wlm munge)"
)
START_SECONDS = 240.0
GPUS = 2

CONFIGURATION = """\
ClusterName=test
SlurmctldHost=h1(10.77.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
KillWait=30
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,batch_sched_delay=1
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass
class Slurm:
    """The cluster. Commands run on its first host."""

    first: Host
    folder: Path

    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
        return {**self.first.environment(clean), "SLURM_CONF": str(self.folder / "slurm.conf")}

    def environment_of(self, host: Host) -> dict[str, str]:
        """What a command on any of the hosts needs to find Slurm."""
        return {**self.environment(), "HOME": str(host.disk / "home"), "TMPDIR": str(host.disk / "tmp")}

    def run(self, *command: str) -> str:
        """The output of a Slurm command."""
        done = subprocess.run(
            self.first.command(*command), env=self.environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}{self.logs()}"
        return done.stdout

    def logs(self) -> str:
        return "\n".join(f"== {log.name}\n{log.read_text()[-3000:]}" for log in self.folder.glob("*.log"))


def start_slurm(made: Network, folder: Path, *, nodes: int | None = None) -> Slurm:
    """Bring the cluster up; it goes when the network goes. Only the first `nodes` hosts are nodes (default: all).

    Each node has two "GPUs": copies of /dev/null, which Slurm counts, gives to jobs and names in variables like GPUs.
    """
    hosts = made.hosts[:nodes]
    for name in ("state", *(f"spool.n{host.number}" for host in hosts)):
        (folder / name).mkdir(parents=True)
    for number in range(GPUS):
        os.mknod(folder / f"gpu{number}", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    lines = [
        f"NodeName=n{host.number} NodeHostname={host.name} NodeAddr={host.address} CPUs=16 RealMemory=4000 "
        f"Gres=gpu:{GPUS} State=UNKNOWN"
        for host in hosts
    ]
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-{GPUS - 1}] Flags=nvidia_gpu_env\n")
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder, nodes="\n".join(lines)))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    slurm = Slurm(made.hosts[0], folder)
    munge = ["munged", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}"]
    munge += [
        f"--pid-file={folder}/munged.pid",
        f"--log-file={folder}/munged.log",
        f"--seed-file={folder}/munge.seed",
    ]
    _daemon(folder, made.hosts[0], slurm.environment(), *munge)
    _daemon(folder, made.hosts[0], slurm.environment(), "slurmctld", "-f", str(folder / "slurm.conf"))
    for host in hosts:
        start_slurmd(slurm, host)
    limit = time.monotonic() + START_SECONDS
    while slurm.run("sinfo", "-h", "-N", "-p", "main", "-o", "%T").split() != ["idle"] * len(hosts):
        assert time.monotonic() < limit, f"Slurm does not come up\n{slurm.logs()}"
        time.sleep(0.2)
    return slurm


def start_slurmd(slurm: Slurm, host: Host) -> None:
    """Bring one node up, at the beginning or after its end."""
    words = ["slurmd", "-f", str(slurm.folder / "slurm.conf"), "-N", f"n{host.number}"]
    _daemon(slurm.folder, host, slurm.environment(), *words)


def _daemon(folder: Path, host: Host, env: Mapping[str, str], *command: str) -> None:
    done = subprocess.run(host.command(*command), env=env, capture_output=True, text=True, check=False)
    logs = "".join(log.read_text()[-2000:] for log in sorted(folder.glob("*.log")))
    assert done.returncode == 0, f"{command}: {done.stderr}{logs}"
