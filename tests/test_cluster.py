"""The event loop of a run with workers elsewhere, which can't be ended like one's own children."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from muster.core import ConfigurationError, InterruptedRunError
from muster.engines.children import Child
from muster.engines.cluster import Cluster, Expected
from muster.engines.job import Job
from muster.engines.replica import Replica
from muster.models.protocol import ModelSettings
from muster.results.folder import RunFolder
from muster.worker.joining import Start
from processes import DEADLINE, fake
from served import SECRET, serving


class Loading(Replica):
    """Loads until it is killed."""

    def __init__(self) -> None:
        super().__init__(Start("worker-0", 0))
        self.launched, self.killed, self.exists = 0, asyncio.Event(), False

    @property
    def running(self) -> bool:
        return self.exists

    async def launch(self) -> None:
        self.launched += 1
        self.exists = True
        self.killed.clear()

    async def wait(self) -> str:
        await self.killed.wait()
        self.exists = False
        return "killed by SIGKILL"

    async def abort(self) -> None:
        self.kill()

    def kill(self) -> None:
        self.killed.set()


def test_nobody_is_started_again_for_a_run_that_is_over(tmp_path: Path) -> None:
    """Another replica had failed for good; what still loaded was killed, and then replaced."""
    with serving(4) as served:
        job = Job("b", ModelSettings("m"), RunFolder(tmp_path), 1)
        child = Loading()

        async def run() -> None:
            cluster = Cluster(served.coordinator, job, SECRET, Expected())
            await cluster.server.start("127.0.0.1")
            asyncio.get_running_loop().call_later(0.3, cluster.fail, ConfigurationError("no such thing"))
            await asyncio.wait_for(cluster.run([child], lambda: None), DEADLINE)

        with pytest.raises(ConfigurationError, match="no such thing"):
            asyncio.run(run())
        assert child.launched == 1


def test_a_second_signal_waits_for_nobody(tmp_path: Path) -> None:
    """Of a launcher's other ranks and of machines that joined, the answers under way were waited for all the same."""
    with serving(4) as served:
        coordinator, now = served.coordinator, time.monotonic()
        coordinator.join("worker-1", 1, "elsewhere", 1, now=now)
        coordinator.ready("worker-1", 4, True, 0.0, now=now)
        assert coordinator.pull("worker-1", 1, idle=True, now=now).requests
        job = Job("b", ModelSettings("m"), RunFolder(tmp_path), 1, drain_seconds=3600)
        cluster = Cluster(coordinator, job, SECRET, Expected({"worker-1": 1}))

        async def run() -> None:
            await cluster.server.start("127.0.0.1")
            running = asyncio.create_task(cluster.run([], lambda: None))
            await asyncio.sleep(0)
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(0.5)
            assert not running.done(), "the first lets it finish"
            signal.raise_signal(signal.SIGINT)
            await asyncio.wait_for(running, DEADLINE)

        with pytest.raises(InterruptedRunError, match="SIGINT"):
            asyncio.run(run())


class Restarted(Child):
    """Counts its starts."""

    starts = 0

    async def launch(self) -> None:
        await super().launch()
        self.starts += 1


class StoppedAtFirst(Restarted):
    """Its first process is stopped before it can say anything."""

    async def launch(self) -> None:
        await super().launch()
        if self.starts == 1:
            assert self.process is not None
            self.process.send_signal(signal.SIGSTOP)


HANGS_ONCE = """
import pathlib, time
seen = pathlib.Path(__file__).with_suffix(".seen")
if not seen.exists():
    seen.touch()
    time.sleep(100_000)
"""


@pytest.mark.parametrize("first", ["stopped", "hanging"])
def test_a_process_that_never_becomes_known_is_replaced(tmp_path: Path, first: str) -> None:
    """The coordinator had never heard of it, so that its silence didn't count: a run with one replica never ended."""
    (tmp_path / "sitecustomize.py").write_text(HANGS_ONCE)
    env = {"PYTHONPATH": str(tmp_path)} if first == "hanging" else {}
    kind = Restarted if first == "hanging" else StoppedAtFirst
    worker_timeout, timeout = (DEADLINE, 5.0) if first == "hanging" else (0.5, DEADLINE)
    with serving(4) as served:
        settings = ModelSettings("demo", args={"seconds": 0.0})
        job = Job(fake("Echo"), settings, RunFolder(tmp_path), 1, worker_timeout=worker_timeout)

        async def run() -> int:
            cluster = Cluster(served.coordinator, job, SECRET, Expected(timeout=timeout))
            port = await cluster.server.start("127.0.0.1")
            start = Start("worker-0", 0, [("127.0.0.1", port)], SECRET.hex())
            child = kind(start, env, tmp_path / "log")
            await asyncio.wait_for(cluster.run([child], lambda: None), DEADLINE)
            return child.starts

        starts = asyncio.run(run())
        assert starts == 2 or (
            first == "hanging" and starts > 2
        )  # on a full machine a start may take its 5 s
        assert served.coordinator.finished
