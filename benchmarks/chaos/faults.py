"""What goes wrong, engine by engine, and how it is brought about."""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple

import psutil

from benchmarks.chaos.attempts import POLL_SECONDS, Attempt
from benchmarks.chaos.damage import damage
from benchmarks.chaos.stages import SMALL_DISK, Nodes, Ray, Slurm, Stage

ALL: Sequence[str] = ("inline", "local", "torchrun", "nodes", "three-nodes", "ray", "slurm")
WITH_WORKERS = ("local", "torchrun", "nodes", "ray")
LAUNCHED = ("torchrun", "nodes")
WORKER_TIMEOUT = 3.0
SHORT_CUT = 1.0
LONG_CUT = WORKER_TIMEOUT + 4.0
RESTARTS = 3
_LOOK_SECONDS = 0.0005
_TARGET_SECONDS = 10.0
"""How long a fault waits for what it is to hit, which may not have been started yet."""


class Missed(Exception):  # noqa: N818
    """The run was over before the fault came: no trial of it."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a fault strikes."""

    stage: Stage
    attempt: Attempt
    output: Path
    random: Random
    over: threading.Event
    """Set when the attempt has ended."""
    threads: list[threading.Thread]

    def meanwhile(self, work: Callable[[], None]) -> None:
        """Do something from now on, until the attempt is `over`."""
        self.threads.append(threading.Thread(target=work, daemon=True))
        self.threads[-1].start()

    def one_of(self, wanted: Literal["worker", "coordinator", "rank"]) -> psutil.Process:
        """A worker, the coordinator, or another rank of the launcher, as soon as there is one. Raises `Missed`."""
        limit = time.monotonic() + _TARGET_SECONDS
        while time.monotonic() < limit and self.attempt.alive():
            match wanted:
                case "worker":
                    found = self.attempt.workers()
                case "coordinator":
                    found = self.attempt.coordinator()
                case "rank":
                    found = self.attempt.ranks()
            if found:
                return self.random.choice(sorted(found, key=lambda process: process.pid))
            time.sleep(POLL_SECONDS)
        raise Missed


class Moment(NamedTuple):
    """When a fault strikes: so many seconds after so many answers."""

    answers: int
    seconds: float

    @classmethod
    def draw(cls, random: Random, answers: int) -> Moment:
        """Mostly while answers come; sometimes while processes start, or while the end is written."""
        part = random.random()
        if part < 0.15:
            return cls(0, random.uniform(0.2, 2.5))
        if part < 0.9:
            return cls(random.randint(1, answers - 1), random.uniform(0, 0.05))
        return cls(answers, random.uniform(0, 0.4))


class Fault:
    """One row of the table. `strike` is called at a random moment of a first attempt."""

    name = ""
    says = ""
    engines: Sequence[str] = ()
    restarts = 0
    """`--max-restarts` of the launcher."""
    poisonous = False
    """A sample kills whatever process touches it."""

    def folder(self, stage: Stage, scratch: Path) -> Path:
        """Where the run folder is to be."""
        return stage.folder(scratch)

    def moment(self, random: Random, answers: int) -> Moment:
        """When, of a run of so many answers."""
        return Moment.draw(random, answers)

    def strike(self, scene: Scene) -> None:
        """Do it. Raises `Missed` where there is nothing left to hit."""

    def repair(self, output: Path, random: Random) -> None:
        """What happens between the first attempt and the same command given again."""

    def clean_up(self, output: Path) -> None:
        """Afterwards."""


class KillWorker(Fault):
    name, says, engines = "kill-worker", "kill -9 of a worker", WITH_WORKERS

    def strike(self, scene: Scene) -> None:
        send([scene.one_of("worker")], signal.SIGKILL)


class KillWorkers(Fault):
    name, says, engines = "kill-workers", "kill -9 of all workers at once", WITH_WORKERS

    def strike(self, scene: Scene) -> None:
        scene.one_of("worker")
        send(scene.attempt.workers(), signal.SIGKILL)


class KillRank(Fault):
    name, says, engines = "kill-rank", "kill -9 of a rank, not of its worker", LAUNCHED

    def strike(self, scene: Scene) -> None:
        send([scene.one_of("rank")], signal.SIGKILL)


class StopRank(Fault):
    """In its first half second a rank has started nothing that could have it go on: nobody could mend that."""

    name, says, engines = "stop-rank", "SIGSTOP of a rank, not of its worker, for ever", LAUNCHED

    def strike(self, scene: Scene) -> None:
        rank = scene.one_of("rank")
        with contextlib.suppress(psutil.NoSuchProcess):  # its end is as good a moment as any
            while scene.attempt.alive() and not rank.children():
                time.sleep(POLL_SECONDS)
        send([rank], signal.SIGSTOP)


class KillNode(Fault):
    """Of several hosts, one without the coordinator."""

    name, says = "kill-node", "a node without the coordinator loses power"
    engines = ("nodes", "three-nodes", "ray", "slurm")

    def strike(self, scene: Scene) -> None:
        if isinstance(scene.stage, Nodes):
            scene.one_of("coordinator")
            scene.stage.hosts[1].kill()
        elif isinstance(scene.stage, Ray | Slurm):
            scene.one_of("worker")
            scene.stage.lose_a_node()


class KillOtherNodes(Fault):
    """Of three hosts, the two without the coordinator."""

    name, says, engines = (
        "kill-other-nodes",
        "both nodes without the coordinator lose power",
        ("three-nodes",),
    )

    def strike(self, scene: Scene) -> None:
        assert isinstance(scene.stage, Nodes)
        scene.one_of("coordinator")
        for host in scene.stage.hosts[1:]:
            host.kill()


class KillHead(Fault):
    """Of Ray's cluster; there is another under the same address when the command is given again."""

    name, says, engines = "kill-head", "the head of Ray's cluster loses power", ("ray",)

    def strike(self, scene: Scene) -> None:
        assert isinstance(scene.stage, Ray)
        ray = scene.stage
        scene.one_of("worker")
        ray.lose_the_head()

        def make_anew() -> None:
            scene.over.wait()
            ray.make_anew()

        scene.meanwhile(make_anew)


class Requeue(Fault):
    name, says, engines = "requeue", "scontrol requeue of the job", ("slurm",)

    def strike(self, scene: Scene) -> None:
        assert isinstance(scene.stage, Slurm)
        scene.one_of("coordinator")
        if not (job := scene.stage.job()):
            raise Missed
        scene.stage.control("requeue", job)


class Drain(Requeue):
    """The job may not come back there before the node is given back."""

    name, says = "drain", "a node is drained, and the job requeued"

    def strike(self, scene: Scene) -> None:
        assert isinstance(scene.stage, Slurm)
        slurm = scene.stage
        slurm.control("update", "NodeName=n2", "State=DRAIN", "Reason=chaos")
        try:
            super().strike(scene)
        finally:

            def give_back() -> None:
                scene.over.wait(3.0)
                slurm.control("update", "NodeName=n2", "State=RESUME")

            scene.meanwhile(give_back)


class KillEverything(Fault):
    name, says = "kill-everything", "kill -9 of all processes of the coordinator's node"
    engines = ("local", "torchrun", "nodes", "three-nodes")

    def strike(self, scene: Scene) -> None:
        scene.one_of("coordinator")
        if isinstance(scene.stage, Nodes):
            scene.stage.hosts[0].kill()
        else:
            send(scene.attempt.everything(), signal.SIGKILL)


class KillCoordinator(Fault):
    name, says, engines = "kill-coordinator", "kill -9 of the coordinator", ALL

    def strike(self, scene: Scene) -> None:
        send([scene.one_of("coordinator")], signal.SIGKILL)


class RestartGroup(Fault):
    name, engines, restarts = "restart-group", LAUNCHED, RESTARTS
    says = f"kill -9 of the coordinator or another rank, with --max-restarts={RESTARTS}"

    def strike(self, scene: Scene) -> None:
        whom: Literal["rank", "coordinator"] = scene.random.choice(["rank", "coordinator"])
        send([scene.one_of(whom)], signal.SIGKILL)


class StopWorker(Fault):
    name, says, engines = "stop-worker", "SIGSTOP of a worker, for ever", WITH_WORKERS

    def strike(self, scene: Scene) -> None:
        scene.one_of("worker").send_signal(signal.SIGSTOP)


class SlowHost(Fault):
    """Four fifths of the time it stands still; shorter at a time than any time-out."""

    name, says, engines = "slow-host", "a host or worker at a fifth of its speed", WITH_WORKERS

    def strike(self, scene: Scene) -> None:
        victim = scene.one_of("worker")

        def processes() -> list[psutil.Process]:
            return scene.stage.hosts[1].processes() if isinstance(scene.stage, Nodes) else [victim]

        def hinder() -> None:
            while not scene.over.wait(0.1):
                victims = processes()
                send(victims, signal.SIGSTOP)
                scene.over.wait(0.4)
                send(victims, signal.SIGCONT)

        scene.meanwhile(hinder)


class Cut(Fault):
    """A host is taken off the network, and comes back."""

    engines = ("nodes", "three-nodes")

    def __init__(self, name: str, says: str, seconds: Sequence[float]) -> None:
        """`seconds`: off, on, off, …"""
        self.name, self.says, self._seconds = name, says, seconds

    def strike(self, scene: Scene) -> None:
        assert isinstance(scene.stage, Nodes)
        scene.one_of("coordinator")
        made, host = scene.stage.network, scene.random.choice(scene.stage.hosts)

        def cut() -> None:
            for number, seconds in enumerate(self._seconds):
                (made.mend if number % 2 else made.cut)(host)
                if scene.over.wait(seconds):
                    break
            made.mend(host)

        scene.meanwhile(cut)


class FullDisk(Fault):
    """The run folder is on a small disk that somebody else fills up, but for some kilobytes, and then clears."""

    name, says, engines = (
        "full-disk",
        "the disk is full; room is made",
        ("inline", "local", "torchrun", "ray"),
    )

    def folder(self, stage: Stage, scratch: Path) -> Path:  # noqa: ARG002
        return scratch / SMALL_DISK

    def strike(self, scene: Scene) -> None:
        free = shutil.disk_usage(scene.output.parent).free
        left = scene.random.choice([0, 4096, 8192, 16384])
        self._ballast(scene.output).write_bytes(bytes(max(0, free - left)))

    def repair(self, output: Path, random: Random) -> None:  # noqa: ARG002
        self._ballast(output).unlink(missing_ok=True)

    def clean_up(self, output: Path) -> None:
        self._ballast(output).unlink(missing_ok=True)
        shutil.rmtree(output, ignore_errors=True)

    @staticmethod
    def _ballast(output: Path) -> Path:
        return output.parent / "somebody-elses"


class TornJournal(KillCoordinator):
    """As a machine leaves it that loses power, or a disk that forgets."""

    name, engines = "torn-journal", ("inline", "local", "torchrun", "nodes", "ray")
    says = "the coordinator is killed, then its journal torn or overwritten"

    def repair(self, output: Path, random: Random) -> None:
        journal = output / "journal.jsonl"
        if journal.exists():
            damage(journal, random)


class Poison(Fault):
    name, says, engines, poisonous = (
        "poison",
        "a sample kills every process that touches it",
        WITH_WORKERS,
        True,
    )


class Preempt(Fault):
    name, says, engines = "preempt", "SIGTERM to the command (pre-emption)", ALL

    def strike(self, scene: Scene) -> None:
        scene.one_of("coordinator")
        if isinstance(scene.stage, Slurm):
            scene.stage.signal("TERM")
        elif isinstance(scene.stage, Ray):  # the command is what enters the namespace
            send([scene.one_of("coordinator")], signal.SIGTERM)
        else:
            for command in scene.attempt.commands:
                command.send_signal(signal.SIGTERM)


class InterruptScoring(Fault):
    """When all is answered: nothing but scores are missing."""

    name, engines = "interrupt-scoring", ("inline", "local")
    says = "SIGTERM, SIGINT or SIGHUP while answers are scored"

    def moment(self, random: Random, answers: int) -> Moment:
        return Moment(answers, random.uniform(0, 0.4))

    def strike(self, scene: Scene) -> None:
        number = scene.random.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
        for command in scene.attempt.commands:
            command.send_signal(number)


class InterruptWriting(InterruptScoring):
    """From when the first of the files exists that are put in the place of earlier ones."""

    name, says = "interrupt-writing", "SIGTERM, SIGINT or SIGHUP while results are written"

    def moment(self, random: Random, answers: int) -> Moment:  # noqa: ARG002
        return Moment(answers, 0.0)

    def strike(self, scene: Scene) -> None:
        while not list(scene.output.glob(".samples.parquet.*")):
            if not scene.attempt.alive():
                raise Missed
            time.sleep(_LOOK_SECONDS)
        time.sleep(scene.random.uniform(0, 0.02))
        super().strike(scene)


FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        KillWorker(),
        KillWorkers(),
        StopWorker(),
        KillRank(),
        StopRank(),
        SlowHost(),
        Poison(),
        KillCoordinator(),
        RestartGroup(),
        KillNode(),
        KillOtherNodes(),
        KillHead(),
        Requeue(),
        Drain(),
        KillEverything(),
        Cut("cut-short", f"a host off the network for {SHORT_CUT:g} s", [SHORT_CUT]),
        Cut("cut-long", f"a host off the network for {LONG_CUT:g} s", [LONG_CUT]),
        Cut("cut-often", "a host off the network for half of the time", [0.3] * 60),
        Preempt(),
        InterruptScoring(),
        InterruptWriting(),
        FullDisk(),
        TornJournal(),
    )
}


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to those that still exist."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
