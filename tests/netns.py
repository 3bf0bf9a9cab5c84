"""Hosts on one machine: network namespaces joined by a switch, each with a disk, a name and a home of its own.

The switch lives in a namespace too, so that nothing is left in the machine's own network when they are gone. Names
carry the process id: several test runs don't collide, and what a killed test run left behind is cleared by the next.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

PREFIX = "mustertest"

needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2 (network namespaces)"
)


def ip(*arguments: str) -> str:
    """Run `ip`."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr}")
    return done.stdout


@dataclass
class Host:
    """One host. `disk` is visible to its own processes and to the test, not to other hosts."""

    number: int
    namespace: str
    disk: Path
    hidden: list[Path] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"h{self.number}"

    @property
    def address(self) -> str:
        return f"10.77.0.{self.number}"

    def command(self, *command: str) -> list[str]:
        """The command as it runs on this host: its network, host name, disk, home and working directory."""
        setup = [f"hostname {self.name}"]
        setup += [f"mount -t tmpfs none {shlex.quote(str(folder))}" for folder in self.hidden]
        setup += [f"cd {shlex.quote(str(self.disk))}", 'exec "$@"']
        script = " && ".join(setup)
        # Not `ip netns exec`: that hides /sys/fs/cgroup, which slurmd wants.
        enter = ["nsenter", f"--net=/run/netns/{self.namespace}", "unshare", "--mount", "--uts"]
        return [*enter, "sh", "-c", script, "sh", *command]

    def place(self) -> dict[str, Any]:
        """What `command` says of the host, for a process that is forked."""
        hidden = [str(folder) for folder in self.hidden]
        return {"network": f"/run/netns/{self.namespace}", "name": self.name, "hidden": hidden}

    def environment(self, given: Mapping[str, str] | None = None) -> dict[str, str]:
        """The test's own environment with this host's home and temporary folder."""
        own = {"HOME": str(self.disk / "home"), "TMPDIR": str(self.disk / "tmp"), "OMP_NUM_THREADS": "1"}
        return {**os.environ, **own, **(given or {})}

    def processes(self) -> list[psutil.Process]:
        """Everything that runs on this host, outermost first."""
        found = []
        for pid in map(int, ip("netns", "pids", self.namespace).split()):
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
        return sorted(found, key=lambda process: process.pid)

    def workers(self) -> list[psutil.Process]:
        """The launched processes of `muster run`, by local rank; not the launcher, nor what they started."""
        found: dict[int, psutil.Process] = {}
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                command, environment = process.cmdline(), process.environ()
                if "run" in command and "muster" in command and "LOCAL_RANK" in environment:
                    found.setdefault(int(environment["LOCAL_RANK"]), process)
        return [process for _rank, process in sorted(found.items())]

    def models(self) -> list[psutil.Process]:
        """The processes that hold a model."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if "muster.worker.worker" in process.cmdline():
                    found.append(process)
        return found

    def kill(self) -> None:
        """kill -9 of everything on it, as when its power fails; only that sockets are closed."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)


@dataclass
class Network:
    """The hosts, and the switch that joins them."""

    token: str
    hosts: list[Host]

    @property
    def switch(self) -> str:
        return f"{PREFIX}-{self.token}-switch"

    def cut(self, host: Host) -> None:
        """Take a host off the network; its processes go on."""
        ip("-n", self.switch, "link", "set", f"port{host.number}", "down")

    def mend(self, host: Host) -> None:
        """Bring it back."""
        ip("-n", self.switch, "link", "set", f"port{host.number}", "up")

    def up(self) -> None:
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "add", "bridge0", "type", "bridge")
        ip("-n", self.switch, "link", "set", "bridge0", "up")
        for host in self.hosts:
            for folder in ("home", "tmp"):
                (host.disk / folder).mkdir(parents=True)
            ip("netns", "add", host.namespace)
            port = f"port{host.number}"
            ip("-n", self.switch, "link", "add", port, "type", "veth", "peer", "name", "eth0",
               "netns", host.namespace)  # fmt: skip
            ip("-n", self.switch, "link", "set", port, "master", "bridge0", "up")
            ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
            ip("-n", host.namespace, "link", "set", "eth0", "up")
            ip("-n", host.namespace, "link", "set", "lo", "up")

    def down(self) -> None:
        """Kill what runs on the hosts, and remove them."""
        clear(f"{PREFIX}-{self.token}-")


def clear(prefix: str) -> None:
    """Remove all namespaces whose names begin so, with their processes."""
    for line in ip("netns", "list").splitlines():
        name = line.split()[0]
        if name.startswith(prefix):
            for pid in map(int, ip("netns", "pids", name).split()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            ip("netns", "del", name)


def clear_abandoned() -> None:
    """Remove what test runs that were killed left behind."""
    for line in ip("netns", "list").splitlines():
        parts = line.split()[0].split("-")
        if parts[0] == PREFIX and not psutil.pid_exists(int(parts[1])):
            with contextlib.suppress(RuntimeError):  # another test process clears it too
                clear("-".join(parts[:2]) + "-")


@contextmanager
def network(folder: Path, count: int) -> Iterator[Network]:
    """`count` hosts with their disks under `folder`, gone when the context ends."""
    clear_abandoned()
    token = str(os.getpid())
    disks = [folder / f"disk{number}" for number in range(1, count + 1)]
    hosts = [
        Host(number, f"{PREFIX}-{token}-h{number}", disk, [other for other in disks if other != disk])
        for number, disk in enumerate(disks, 1)
    ]
    made = Network(token, hosts)
    try:
        made.up()
        yield made
    finally:
        made.down()


def listing(folder: Path, ignored: Sequence[str] = ("home", "tmp")) -> set[str]:
    """What lies on a disk, apart from home and temporary folder."""
    return {entry.name for entry in folder.iterdir() if entry.name not in ignored}
