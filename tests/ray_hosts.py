"""A real Ray cluster in a network of its own: nobody else's Ray is found, and it ends with its namespace."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from processes import DEADLINE, command_of, until

ADDRESS = "10.78.0.1"
STARTED = "Ray runtime started"
ATTEMPTS = 4
"""Ray gives a node thirty seconds to start, which on a full machine may not be enough."""
_SETUP = f"""
set -e
ip link set lo up
ip link add eth0 type veth peer name eth1
ip addr add {ADDRESS}/24 dev eth0
ip link set eth0 up
ip link set eth1 up
ip route add default via 10.78.0.254
echo up
sleep infinity &
wait  # not exec: the namespace's first process must reap what others leave behind
"""

_SEES_GPUS = """
import sys, time, ray
ray.init(sys.argv[1], log_to_driver=False, configure_logging=False)
while not any(node["Alive"] and node["Resources"].get("GPU") == int(sys.argv[2]) for node in ray.nodes()):
    time.sleep(0.1)
"""


class RayNode:
    """One raylet, and with `head` the cluster's other services."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def kill(self) -> None:
        """The node is gone at once, with all that runs on it. Ray notices within half a minute."""
        try:
            family = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return  # it ended by itself, as a raylet does whose head is gone
        raylets = [one for one in family if Path((command_of(one) or [""])[0]).name == "raylet"]
        for raylet in raylets:
            raylet.kill()
        psutil.wait_procs(raylets, timeout=DEADLINE)
        for rest in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                rest.kill()
        self._process.wait(timeout=DEADLINE)


def _takes(option: str) -> bool:
    """Whether this release's `ray start` has an option."""
    from ray.scripts.scripts import start

    return any(option in parameter.opts for parameter in start.params)


class RayHost:
    """The namespace and what runs in it."""

    def __init__(self, namespace: psutil.Process, folder: Path) -> None:
        self._namespace, self._folder = namespace, folder
        self.address = f"{ADDRESS}:6380"

    @property
    def env(self) -> Mapping[str, str]:
        """For everything that starts in the namespace."""
        return {
            "RAY_TMPDIR": str(self._folder),
            "RAY_AUTH_MODE": "disabled",
            "RAY_ADDRESS": "",
            "RAY_prestart_worker_first_driver": "0",  # actors get processes of their own
            "RAY_agent_register_timeout_ms": "200000",  # a raylet ends itself when its agents are slow to start
        }

    @property
    def launcher(self) -> list[str]:
        """Starts Python in the namespace, in the same folder."""
        command = ["nsenter", "--target", str(self._namespace.pid), "--net", "--pid", "--mount"]
        return [*command, f"--wd={Path.cwd()}", "--", sys.executable]

    def start_node(self, cpus: int, *, gpus: int = 0, head: bool = False) -> RayNode:
        """`ray start`, which returns when the node is in the cluster."""
        where = ["--head", "--port=6380", f"--temp-dir={self._folder}"]
        where += ["--include-dashboard=false", "--no-monitor"]  # nobody looks, nothing scales
        options = where if head else [f"--address={self.address}"]
        common = [
            f"--node-ip-address={ADDRESS}",
            f"--num-cpus={cpus}",
            f"--num-gpus={gpus}",  # Ray believes it
            "--object-store-memory=80000000",
        ]
        if _takes("--include-log-monitor"):
            common.append("--include-log-monitor=false")
        command = [*self.launcher, "-m", "ray.scripts.scripts", "start", *options, *common, "--block"]
        for _attempt in range(ATTEMPTS):
            process, said = self._start(command)
            if process.poll() is None:
                break
        else:
            raise AssertionError(said)
        if gpus:  # a raylet runs a moment before the cluster knows what it has
            seen = [*self.launcher, "-c", _SEES_GPUS, self.address, str(gpus)]
            subprocess.run(seen, env={**os.environ, **self.env}, check=True, timeout=DEADLINE)
        return RayNode(process)

    def _start(self, command: Sequence[str]) -> tuple[subprocess.Popen[bytes], str]:
        """Wait until it says that the node is up, or ends."""
        log = Path(tempfile.mkstemp(dir=self._folder)[1])
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, env={**os.environ, **self.env}, start_new_session=True
            )
        until(lambda: STARTED in log.read_text() or process.poll() is not None, "the node to come up")
        if process.poll() is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        return process, log.read_text()

    def nodes(self) -> int:
        """Raylets that run."""
        return len(self._processes(lambda command: Path(command[0]).name == "raylet"))

    def actors(self) -> list[psutil.Process]:
        """Processes of replicas that Ray has placed."""
        return self._processes(lambda command: command[0].startswith("ray::WorkerProcess"))

    def rays(self) -> list[psutil.Process]:
        """All of Ray's own processes."""
        names = ("raylet", "gcs_server")
        return self._processes(
            lambda command: Path(command[0]).name in names or command[0].startswith("ray::")
        )

    def _processes(self, wanted: Callable[[list[str]], bool]) -> list[psutil.Process]:
        found = []
        for process in self._namespace_processes():
            try:
                command = process.cmdline()
                if command and wanted(command):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def _namespace_processes(self) -> Iterator[psutil.Process]:
        mine = _network(self._namespace.pid)
        for process in psutil.process_iter():
            if _network(process.pid) == mine:
                yield process


def _network(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return ""


@contextmanager
def ray_host() -> Iterator[RayHost]:
    """A namespace with an address; whatever was started in it ends with it."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: it holds sockets
    unshare = subprocess.Popen(
        ["unshare", "--net", "--pid", "--mount-proc", "--fork", "--kill-child", "bash", "-c", _SETUP],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert unshare.stdout is not None
        assert unshare.stdout.readline() == "up\n"
        (namespace,) = psutil.Process(unshare.pid).children()
        yield RayHost(namespace, folder)
    finally:
        unshare.kill()
        unshare.communicate()
        shutil.rmtree(folder, ignore_errors=True)
