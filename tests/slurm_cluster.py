"""A real Slurm on the hosts of `netns`: a controller on the first, one slurmd on each, without systemd.

Everything (configuration, sockets, state, logs) lies in the test's own folder, and every daemon runs inside the
hosts' namespaces, so that it ends with them. No node's name is in any name service.
"""

from __future__ import annotations

import os
import shutil
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
START_SECONDS = 60.0

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

    def run(self, *command: str) -> str:
        """The output of a Slurm command."""
        done = subprocess.run(
            self.first.command(*command), env=self.environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}{self.logs()}"
        return done.stdout

    def logs(self) -> str:
        return "\n".join(f"== {log.name}\n{log.read_text()[-3000:]}" for log in self.folder.glob("*.log"))


def start_slurm(made: Network, folder: Path) -> Slurm:
    """Bring the cluster up; it goes when the network goes."""
    for name in ("state", *(f"spool.n{host.number}" for host in made.hosts)):
        (folder / name).mkdir(parents=True)
    nodes = [
        f"NodeName=n{host.number} NodeHostname={host.name} NodeAddr={host.address} CPUs=4 RealMemory=4000 State=UNKNOWN"
        for host in made.hosts
    ]
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder, nodes="\n".join(nodes)))
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
    for host in made.hosts:
        _daemon(
            folder,
            host,
            slurm.environment(),
            "slurmd",
            "-f",
            str(folder / "slurm.conf"),
            "-N",
            f"n{host.number}",
        )
    limit = time.monotonic() + START_SECONDS
    while slurm.run("sinfo", "-h", "-N", "-o", "%T").split() != ["idle"] * len(made.hosts):
        assert time.monotonic() < limit, f"Slurm does not come up\n{slurm.logs()}"
        time.sleep(0.2)
    return slurm


def _daemon(folder: Path, host: Host, env: Mapping[str, str], *command: str) -> None:
    done = subprocess.run(host.command(*command), env=env, capture_output=True, text=True, check=False)
    logs = "".join(log.read_text()[-2000:] for log in sorted(folder.glob("*.log")))
    assert done.returncode == 0, f"{command}: {done.stderr}{logs}"
