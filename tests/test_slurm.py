"""`muster slurm` on a real Slurm: submitted, followed, interrupted in every way a cluster knows, fetched.

Guards against the run that isn't requeued after its time limit, the one that is requeued for ever, the cancelled one
that comes back, and the one that says "failed" because a rank was lost whose work others did.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from fork_server import launched_python
from gates import gate, open_gate_in
from muster.results.journal import read_journal
from muster.results.results import Results
from netns import Host, Network, needs_namespaces, network
from processes import DEADLINE, command_of, fake, start_program, write_benchmark
from slurm_cluster import Slurm, needs_slurm, start_slurm, start_slurmd

pytestmark = [pytest.mark.root, pytest.mark.slow, needs_namespaces, needs_slurm]
SAMPLES = 60
MODELS = Path(__file__).parent / "netns_models.py"


@dataclass
class Cluster:
    """Two nodes, and a login node without a slurmd; `shared` is a disk that all see."""

    made: Network
    slurm: Slurm
    shared: Path
    task: Path
    python: str
    """Whose imports are there already."""

    @property
    def nodes(self) -> list[Host]:
        return self.made.hosts[:2]

    @property
    def login(self) -> Host:
        return self.made.hosts[2]

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A command on the login node."""
        return start_program(
            words,
            on=self.login,
            cwd=self.login.disk,
            env=self.slurm.environment_of(self.login),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def muster(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`muster slurm …` on the login node, to its end."""
        process = self.start(sys.executable, "-m", "muster", "slurm", *words)
        stdout, stderr = process.communicate(timeout=DEADLINE)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def submit(self, run: str, *options: str, **settings: object) -> str:
        """Submit a run into the shared folder `run`; the job's number."""
        done = self.muster("--python", self.python, *options, "--", *self.run_options(run, **settings))
        assert done.returncode == 0, done.stderr
        words = done.stdout.split()
        assert words[:2] == ["submitted", "job"]
        assert str(self.shared / run) in done.stdout
        return words[2]

    def run_options(self, run: str, **settings: object) -> list[str]:
        given: dict[str, object] = {
            "model": "demo",
            "tasks": self.task,
            "backend": fake("Echo"),
            "output": self.shared / run,
            "worker_timeout": 20,
            "rendezvous_timeout": 200,
            **settings,
        }
        return [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]

    def answers(self, run: str) -> int:
        journal = self.shared / run / "journal.jsonl"
        return max(0, journal.read_bytes().count(b"\n") - 1) if journal.exists() else 0

    def job(self, job: str) -> dict[str, str]:
        shown = self.slurm.run("scontrol", "show", "job", job, "--oneliner")
        return dict(part.split("=", 1) for part in shown.split() if "=" in part)

    def until(self, true: Callable[[], object], what: str) -> None:
        limit = time.monotonic() + DEADLINE
        while not true():
            assert time.monotonic() < limit, f"waited in vain for {what}\n{self.logs()}{self.slurm.logs()}"
            time.sleep(0.1)

    def ended(self, job: str) -> dict[str, str]:
        """The job when it is over for good."""
        states = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        self.until(lambda: self.job(job)["JobState"] in states, f"the end of job {job}")
        return self.job(job)

    def logs(self) -> str:
        return "\n".join(f"== {log}\n{log.read_text()}" for log in self.shared.glob("*/slurm/*.log"))

    def log(self, run: str) -> str:
        return "".join(log.read_text() for log in (self.shared / run / "slurm").glob("job-*.log"))

    def assert_complete(self, run: str) -> None:
        """Nothing lost, nothing twice, and the score of an undisturbed run."""
        assert_all_answered(self.shared / run)
        undisturbed = Results.load(self.shared / "undisturbed" / "results.json").tasks["echo"]
        assert Results.load(self.shared / run / "results.json").tasks["echo"] == undisturbed

    def attempts(self, run: str) -> list[int | None]:
        manifest = json.loads((self.shared / run / "manifest.json").read_text())
        return [attempt["exit_status"] for attempt in manifest["attempts"]]


def assert_all_answered(folder: Path) -> None:
    answered = Counter(record.completion.key for record in read_journal(folder / "journal.jsonl"))
    assert len(answered) == SAMPLES
    assert set(answered.values()) == {1}
    samples = Results.load(folder / "results.json").tasks["echo"].samples
    assert (samples.succeeded, samples.errored) == (SAMPLES, 0)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("slurm")
    shared = folder / "shared"
    with network(folder, 3) as made:
        slurm = start_slurm(made, folder / "slurm", nodes=2)
        task = write_benchmark(shared / "bench", SAMPLES)
        yield Cluster(made, slurm, shared, task, launched_python(shared))


def test_interruptions_of_every_kind_end_in_a_complete_run(cluster: Cluster) -> None:
    """All at the same time, because Slurm takes its time: what it does to one job doesn't depend on the others."""
    hurry = cluster.shared / "hurry"
    slow = {"backend": f"{MODELS}:Unhurried", "model_args": f"seconds=6,until={hurry}"}
    on_first, on_second = ("--sbatch", "nodelist=n1"), ("--sbatch", "nodelist=n2")
    two_ranks = ("--tasks-per-node", "2", *on_first)
    limit = cluster.submit("limit", *on_first, "--time", "90", "--stop-before", "600", **slow)
    cluster.submit("undisturbed", *on_first)
    signalled = cluster.submit("signalled", *two_ranks, **slow)
    requeued = cluster.submit("requeued", *on_first, **slow)
    cancelled = cluster.submit("cancelled", *on_first, **slow)
    exhausted = cluster.submit("exhausted", *on_first, "--max-requeues", "0", **slow)
    wrong = cluster.submit("wrong", *on_first, backend=fake("NoSuchClass"))
    failed_node = cluster.submit("failed_node", *on_second, **slow)
    runs = ("limit", "signalled", "requeued", "cancelled", "exhausted", "failed_node")
    cluster.until(lambda: all(cluster.answers(run) > 2 for run in runs), "some answers of each run")

    cluster.slurm.run("scontrol", "update", f"JobId={limit}", "TimeLimit=3")  # near enough for --stop-before
    cluster.slurm.run("scancel", "--signal=TERM", signalled)
    cluster.slurm.run("scontrol", "requeue", requeued)
    cluster.slurm.run("scancel", cancelled)
    cluster.slurm.run("scancel", "--signal=TERM", exhausted)
    cluster.nodes[1].kill()
    cluster.slurm.run("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=test")
    start_slurmd(cluster.slurm, cluster.nodes[1])

    ends = {cancelled: cluster.ended(cancelled)}
    assert (ends[cancelled]["JobState"], ends[cancelled]["Restarts"]) == ("CANCELLED", "0"), cluster.log(
        "cancelled"
    )
    assert cluster.attempts("cancelled") == [143]  # drained, and not requeued
    cluster.until(lambda: int(cluster.job(limit)["Restarts"]), "the time limit's signal")
    hurry.touch()
    followed = cluster.muster("follow", cancelled)
    assert followed.returncode == 143
    assert "cancelled" in followed.stderr
    again = cluster.muster(
        "--follow", "--every", "0.5", *on_first, "--", *cluster.run_options("cancelled", **slow)
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert "resuming" in again.stdout
    cluster.assert_complete("cancelled")

    ends |= {job: cluster.ended(job) for job in (exhausted, wrong, signalled, requeued, failed_node, limit)}
    for job, run in (
        (signalled, "signalled"),
        (requeued, "requeued"),
        (failed_node, "failed_node"),
        (limit, "limit"),
    ):
        assert (ends[job]["JobState"], ends[job]["ExitCode"]) == ("COMPLETED", "0:0"), cluster.log(run)
        assert int(ends[job]["Restarts"]) >= 1, run
        cluster.assert_complete(run)
        assert "answers are there" in cluster.log(run)
    assert cluster.attempts("signalled") == cluster.attempts("requeued") == [143, 0]
    assert set(cluster.attempts("limit")) == {143, 0}
    assert cluster.attempts("undisturbed") == [0]

    assert (ends[exhausted]["JobState"], ends[exhausted]["Restarts"]) == ("FAILED", "0")
    assert "the limit of 0 requeues" in cluster.log("exhausted")
    assert (ends[wrong]["JobState"], ends[wrong]["ExitCode"]) == ("FAILED", "2:0")
    assert ends[wrong]["Restarts"] == "0"
    assert "NoSuchClass" in cluster.log("wrong")


def test_following_may_be_left_and_taken_up_again(cluster: Cluster) -> None:
    """A held job says why it waits; Ctrl-C leaves it; a lost rank doesn't make a complete run a failed one."""
    options = gate(cluster.shared)
    job = cluster.submit("held", "--nodes", "2", "--sbatch", "hold", **options)
    status = cluster.muster("status", job)
    assert "pending (JobHeldUser): held" in status.stdout
    assert "the run has not begun" in status.stdout
    second = cluster.muster("--", *cluster.run_options("held", **options))
    assert second.returncode == 2
    assert f"job {job} works on" in second.stderr

    command = [
        sys.executable,
        "-m",
        "muster",
        "slurm",
        "follow",
        str(cluster.shared / "held"),
        "--every",
        "0.3",
    ]
    left = cluster.start(*command)
    assert left.stderr is not None
    assert "pending" in left.stderr.readline()
    left.send_signal(signal.SIGINT)
    _, stderr = left.communicate(timeout=DEADLINE)
    assert left.returncode == 130
    assert f"`muster slurm cancel {cluster.shared / 'held'}` ends the job" in stderr
    cluster.slurm.run("scontrol", "release", job)

    follower = cluster.start(*command)
    cluster.until(lambda: cluster.answers("held") >= 10, "answers of both ranks")
    assert "running on n[1-2]" in cluster.muster("status", str(cluster.shared / "held")).stdout
    ranks = [
        each for each in cluster.nodes[1].processes() if command_of(each)[1:4] == ["-m", "muster", "run"]
    ]
    assert len(ranks) == 1
    ranks[0].kill()
    open_gate_in(cluster.shared)
    stdout, stderr = follower.communicate(timeout=DEADLINE)
    assert follower.returncode == 0, stdout + stderr
    assert "completed" in stderr
    assert "accuracy" in stdout
    assert_all_answered(cluster.shared / "held")
    assert cluster.job(job)["Restarts"] == "0"


def test_a_job_that_could_never_start_is_refused_explained_and_cancelled(cluster: Cluster) -> None:
    """Nine nodes on a cluster of two were queued without a word, and followed for ever."""
    words = ["--nodes", "9", "--", *cluster.run_options("nine")]
    refused = cluster.muster(*words)
    assert refused.returncode == 2
    assert (
        "could not start: allocation failure: Requested node configuration is not available" in refused.stderr
    )
    assert not (cluster.shared / "nine").exists()
    queued = cluster.muster("--untested", *words)
    assert queued.returncode == 0, queued.stderr
    job = queued.stdout.split()[2]
    cluster.until(lambda: cluster.job(job)["Reason"] == "PartitionNodeLimit", "what Slurm says of it")
    status = cluster.muster("status", str(cluster.shared / "nine"))
    assert (
        "asks for more nodes than its partition has or allows: it will never start like this" in status.stdout
    )
    cancelled = cluster.muster("cancel", str(cluster.shared / "nine"))
    assert (cancelled.returncode, f"cancelled job {job}" in cancelled.stdout) == (0, True), cancelled.stderr
    assert cluster.ended(job)["JobState"] == "CANCELLED"
    again = cluster.muster("cancel", job)
    assert (again.returncode, "is over already" in again.stdout) == (0, True), again.stderr


def test_a_run_folder_on_the_nodes_own_disk_is_fetched(cluster: Cluster) -> None:
    """The login node sees neither the benchmark nor the run folder; everything goes through Slurm."""
    first, _second = cluster.nodes
    task = write_benchmark(first.disk / "bench", SAMPLES)
    run = first.disk / "run"
    options = cluster.run_options("", tasks=task, output=run, **gate(first.disk))
    copy = cluster.login.disk / "copy"
    shape = ("--nodes", "2", "--sbatch", "nodelist=n[1-2]", "--fetch", "copy")
    follower = cluster.start(
        sys.executable, "-m", "muster", "slurm", *shape, "--follow", "--every", "0.3", "--", *options
    )
    cluster.until(lambda: (run / "journal.jsonl").exists(), "the run's beginning")
    cluster.until(lambda: (run / "journal.jsonl").read_bytes().count(b"\n") > 3, "some answers")
    partly = cluster.muster("fetch", "copy")
    assert partly.returncode == 0, partly.stderr
    assert 0 < len(list(read_journal(copy / "journal.jsonl"))) < SAMPLES
    assert "as last fetched" in cluster.muster("status", "copy").stdout
    open_gate_in(first.disk)
    stdout, stderr = follower.communicate(timeout=DEADLINE)
    assert follower.returncode == 0, stdout + stderr
    assert stdout.count("muster: job") == stdout.count("exact_match (muster)") == 1, stdout
    assert_all_answered(copy)
    assert not (cluster.login.disk / "run").exists()
    (copy / "results.json").unlink()
    assert cluster.muster("fetch", "copy").returncode == 0  # the job is over: by one of its own
    assert_all_answered(copy)
    lost = cluster.muster("fetch", "copy", "--node", "n2")
    assert lost.returncode == 1
    assert "cannot fetch" in lost.stderr
    assert_all_answered(copy)


SEEN = """
import os
from muster.machine.gpus import share_of, visible_gpus
from muster.machine.ranks import read_ranks
ranks = read_ranks()
print(ranks.rank, ranks.local_rank, ranks.local_world_size, ",".join(share_of(ranks, visible_gpus())))
"""


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        (["-N2", "-n4", "--gpus-per-task=1"], ["0 0 2 0", "1 1 2 1", "2 0 2 0", "3 1 2 1"]),
        (["-N1", "-n2", "--gpus-per-node=2"], ["0 0 2 0", "1 1 2 1"]),
        (["-N1", "-n2", "--gpus-per-node=2", "--gpu-bind=single:1"], ["0 0 2 0", "1 1 2 1"]),
        (["-N1", "-n2", "--gpus-per-node=2", "--gpu-bind=closest"], ["0 0 2 0", "1 1 2 1"]),
        (["-N2", "-n3", "--gpus-per-node=2"], ["0 0 2 0", "1 1 2 1", "2 0 1 0,1"]),
    ],
    ids=" ".join,
)
def test_tasks_share_what_slurm_gave_them(cluster: Cluster, options: Sequence[str], seen: list[str]) -> None:
    """As Slurm's own variables say, with GPUs per task or per node, and unequal numbers of tasks."""
    done = cluster.start("srun", *options, sys.executable, "-c", SEEN)
    stdout, stderr = done.communicate(timeout=DEADLINE)
    assert sorted(stdout.split("\n")[:-1]) == seen, stderr


def test_muster_run_without_srun_is_one_process_and_says_so(cluster: Cluster) -> None:
    """Typed under salloc, or in a batch script, it must not wait for ranks that nobody starts."""
    run = [sys.executable, "-m", "muster", "run", *cluster.run_options("alone")]
    started = cluster.start("salloc", "--quiet", "-N2", "-n4", *run)
    _, stderr = started.communicate(timeout=DEADLINE)
    assert started.returncode == 0, stderr
    assert "this Slurm job has 4 tasks" in stderr
    assert "put `srun` before the command" in stderr
    assert_all_answered(cluster.shared / "alone")
    script = cluster.shared / "batch.sh"
    words = " ".join(f"'{word}'" for word in run).replace("shared/alone", "shared/batch")
    script.write_text(f"#!/bin/bash\n#SBATCH -N2 -n4 --output={cluster.shared}/batch.log\nexec {words}\n")
    cluster.ended(cluster.slurm.run("sbatch", "--parsable", str(script)).strip())
    assert "this Slurm job has 4 tasks" in (cluster.shared / "batch.log").read_text()
    assert_all_answered(cluster.shared / "batch")
