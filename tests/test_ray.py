"""Replicas as Ray actors, on a real Ray with more than one raylet: nothing lost when actors and nodes come and go."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from muster.core import ConfigurationError
from muster.engines.ray import _connected
from muster.engines.ray_actor import describe_death
from muster.engines.ray_resources import Need, Node, need_of_replica, room
from processes import DEADLINE, Run, fake, start, until, write_benchmark
from ray_hosts import RayHost, ray_host

Test = TypeVar("Test", bound=Callable[..., None])
real_ray = [
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("ip") is None,
        reason="needs root, unshare and iproute2",
    ),
]


def real(test: Test) -> Test:
    for mark in real_ray:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def host() -> Iterator[RayHost]:
    """A namespace without a Ray."""
    with ray_host() as namespace:
        yield namespace


def a_cluster() -> Iterator[RayHost]:
    """Not Muster's own: a head node with two CPUs."""
    with ray_host() as namespace:
        namespace.start_node(2, head=True)
        yield namespace


lasting = pytest.fixture(a_cluster, scope="module")
cluster = pytest.fixture(a_cluster)
"""For tests with more nodes: one that is killed lingers in Ray's view."""


@pytest.fixture
def task(tmp_path: Path) -> Path:
    return write_benchmark(tmp_path / "bench", COUNT)


COUNT = 3000
"""Samples: so many that a run lasts, until it is told to hurry, longer than Ray takes to notice that a node is gone."""
PACED = f"{Path(__file__).parent / 'ray_models.py'}:Paced"


def paced(output: Path, task: Path, *options: str, host: RayHost | None = None, threads: int = 1) -> Run:
    """A run that takes its time until it is told to `hurry`."""
    given = ["--model", "demo", "--tasks", str(task), "--backend", PACED, "--progress", "plain"]
    given += ["--model-args", f"hurry={output}.hurry", *options]
    if host is None:
        return start(output, *given)
    environment = {**host.env, "OMP_NUM_THREADS": str(threads)}
    return start(output, *given, "--engine", "ray", launcher=host.launcher, env=environment)


def hurry(run: Run) -> None:
    Path(f"{run.output}.hurry").touch()


def assert_goes_on_inline(run: Run, task: Path) -> None:
    """Another engine, without Ray, resumes what was interrupted."""
    kept = run.answered()
    assert 0 < kept < COUNT
    hurry(run)
    again = paced(run.output, task, "--engine", "inline")
    assert again.wait() == 0, again.stderr
    assert f"{kept} answers are there" in again.stderr
    assert_complete(again)


def assert_complete(run: Run, count: int = COUNT) -> None:
    """Nothing lost, nothing twice, and the score that an undisturbed run has."""
    results = run.results()
    assert results.complete, run.logs()
    assert results.tasks["echo"].samples.succeeded == count
    assert results.tasks["echo"].metrics["accuracy"].value == 1.0
    answered = Counter(record.completion.key for record in run.journal())
    assert len(answered) == count
    assert set(answered.values()) == {1}


def driver_of(run: Run) -> psutil.Process:
    """Muster's own process, which is the child of the one that enters the namespace."""
    (driver,) = psutil.Process(run.process.pid).children()
    return driver


def workers_of(run: Run) -> Counter[str]:
    return Counter(record.worker for record in run.journal())


@real
def test_a_ray_of_its_own_gives_the_inline_score_and_ends_with_the_run(host: RayHost, tmp_path: Path) -> None:
    options = ["--model", "demo", "--tasks", "digits_choice", "--limit", "20", "--progress", "plain"]
    inline = start(tmp_path / "inline", *options, "--engine", "inline")
    ray = start(
        tmp_path / "ray",
        *options,
        *("--engine", "ray", "--replicas", "2"),
        launcher=host.launcher,
        env=host.env,
    )
    assert inline.wait() == 0, inline.stderr
    assert ray.wait() == 0, ray.stderr
    assert ray.results().tasks == inline.results().tasks
    assert "is ready after" in ray.logs()
    until(lambda: not host.actors() and not host.nodes(), "Ray to end")


@real
def test_kill_9_of_an_actor_costs_nothing_and_the_users_cluster_stays(
    lasting: RayHost, task: Path, tmp_path: Path
) -> None:
    options = ["--ray-address", lasting.address, "--replicas", "2"]
    run = paced(tmp_path / "run", task, *options, host=lasting)
    run.until(lambda: len(workers_of(run)) == 2, "answers of both")
    victim = lasting.actors()[0]
    victim.kill()
    run.until(lambda: len([a for a in lasting.actors() if a.pid != victim.pid]) == 2, "another actor")
    hurry(run)
    assert run.wait() == 0, run.stderr
    assert "was lost by Ray" in run.stderr
    assert "(raylet)" not in run.stdout + run.stderr
    assert "(raylet)" in (run.output / "logs" / "ray.log").read_text()  # where Ray's own reports go
    assert_complete(run)
    until(lambda: not lasting.actors(), "the actors to end")
    assert lasting.nodes() == 1


@real
def test_a_node_that_joins_is_used_and_one_that_leaves_is_survived(
    cluster: RayHost, task: Path, tmp_path: Path
) -> None:
    """Without --replicas. A replica takes a node's two CPUs, so a second one needs the second node."""
    run = paced(tmp_path / "run", task, "--ray-address", cluster.address, host=cluster, threads=2)
    run.until_answered(3)
    assert set(workers_of(run)) == {"worker-0"}
    node = cluster.start_node(2)
    run.until(lambda: workers_of(run)["worker-1"] > 2, "the second node's answers")
    node.kill()
    until(lambda: len(cluster.actors()) == 1, "the actor to end with its node")
    hurry(run)
    assert run.wait() == 0, run.stderr
    assert_complete(run)
    assert set(workers_of(run)) == {"worker-0", "worker-1"}
    until(lambda: not cluster.actors(), "the actors to end")
    assert cluster.nodes() == 1


@real
def test_a_replica_of_a_node_that_left_is_replaced_where_there_is_room(
    cluster: RayHost, task: Path, tmp_path: Path
) -> None:
    node = cluster.start_node(1)
    options = ["--ray-address", cluster.address, "--replicas", "3"]  # the head has room for two
    run = paced(tmp_path / "run", task, *options, host=cluster)
    run.until(lambda: len(workers_of(run)) == 3, "answers of all three")
    before = {actor.pid for actor in cluster.actors()}
    node.kill()
    cluster.start_node(1)
    run.until(lambda: {actor.pid for actor in cluster.actors()} - before, "the replica to come back")
    hurry(run)
    assert run.wait() == 0, run.stderr
    assert_complete(run)


@real
def test_each_gpu_gets_a_replica_of_its_own(cluster: RayHost, task: Path, tmp_path: Path) -> None:
    cluster.start_node(4, gpus=2)
    run = paced(tmp_path / "run", task, "--ray-address", cluster.address, host=cluster, threads=1)
    run.until(lambda: len(workers_of(run)) == 2, "answers of both")
    hurry(run)
    assert run.wait() == 0, run.stderr
    assert_complete(run)
    assert len(workers_of(run)) == 2
    assert "GPUs: 0." in run.logs()
    assert "GPUs: 1." in run.logs()
    _replicas_of_several_gpus(cluster, task, tmp_path)


def _replicas_of_several_gpus(cluster: RayHost, task: Path, tmp_path: Path) -> None:
    """A node with two GPUs and one with three: two replicas of two, each on one node; four on one node there aren't."""
    cluster.start_node(2, gpus=3)
    options = ["--ray-address", cluster.address, "--gpus-per-replica"]
    run = paced(tmp_path / "pairs", task, *options, "2", host=cluster)
    run.until(lambda: len(workers_of(run)) == 2, "answers of both")
    hurry(run)
    assert run.wait() == 0, run.stderr
    assert_complete(run)
    seen = sorted(gpus for gpus in ("0,1", "1,2", "0,2") for _ in range(run.logs().count(f"GPUs: {gpus}.")))
    assert len(seen) == 2, run.logs()
    four = paced(tmp_path / "four", task, *options, "4", "--rendezvous-timeout", "3", host=cluster)
    assert four.wait() == 1, four.stderr
    assert "each needs 4 GPU and 1 CPU on one node" in four.stderr
    assert "No node has 4 GPUs: lower --gpus-per-replica" in four.stderr


@real
def test_kill_9_of_the_driver_ends_its_actors_and_another_engine_goes_on(
    lasting: RayHost, task: Path, tmp_path: Path
) -> None:
    options = ["--ray-address", lasting.address, "--replicas", "2"]
    run = paced(tmp_path / "run", task, *options, host=lasting)
    run.until_answered(10)
    driver_of(run).kill()
    run.wait()
    until(lambda: not lasting.actors(), "the actors to end")
    assert_goes_on_inline(run, task)


@real
def test_sigterm_drains_on_a_users_cluster(lasting: RayHost, task: Path, tmp_path: Path) -> None:
    options = ["--ray-address", lasting.address, "--replicas", "2"]
    run = paced(tmp_path / "run", task, *options, host=lasting)
    run.until_answered(10)
    driver_of(run).send_signal(signal.SIGTERM)
    assert run.wait() == 143, run.stderr
    assert "To go on, run the same" in run.stderr
    until(lambda: not lasting.actors(), "the actors to end")
    assert_goes_on_inline(run, task)


@real
def test_ctrl_c_drains_though_it_reaches_rays_own_processes_too(
    host: RayHost, task: Path, tmp_path: Path
) -> None:
    run = paced(tmp_path / "run", task, "--replicas", "2", host=host)
    run.until_answered(10)
    driver = driver_of(run)
    group = os.getpgid(driver.pid)
    for process in [driver, *driver.children(recursive=True)]:
        if os.getpgid(process.pid) == group:  # as a terminal does it
            process.send_signal(signal.SIGINT)
    assert run.wait() == 130, run.stderr
    assert "To go on, run the same" in run.stderr
    assert "was lost" not in run.stderr
    assert not host.rays()
    assert_goes_on_inline(run, task)


@real
def test_kill_9_of_the_driver_leaves_nothing_of_a_ray_of_its_own(
    host: RayHost, task: Path, tmp_path: Path
) -> None:
    run = paced(tmp_path / "run", task, "--replicas", "2", host=host)
    run.until_answered(10)
    driver_of(run).kill()
    run.wait()
    until(
        lambda: not host.actors() and not host.nodes(), "Ray to end"
    )  # its idle agents take a little longer


@real
def test_a_hung_replica_is_named_replaced_and_leaves_its_stack(lasting: RayHost, tmp_path: Path) -> None:
    task = write_benchmark(tmp_path / "bench", 200)
    run = start(
        tmp_path / "run",
        *("--model", "demo", "--tasks", str(task), "--progress", "plain", "--request-timeout", "2"),
        *("--backend", fake("Hangs"), "--model-args", f"seconds=0.01,hang=s77,once={tmp_path}/hung"),
        *("--engine", "ray", "--ray-address", lasting.address, "--replicas", "2"),
        launcher=lasting.launcher,
        env=lasting.env,
    )
    assert run.wait() == 0, run.stderr
    assert_complete(run, 200)
    assert "while working on echo/s77" in run.stderr
    assert "in touch" in run.logs()  # the stack shows where


@real
def test_a_run_that_ray_never_places_ends_and_says_what_it_needs(
    lasting: RayHost, task: Path, tmp_path: Path
) -> None:
    options = ["--ray-address", lasting.address, "--replicas", "1"]
    first = paced(tmp_path / "first", task, *options, host=lasting, threads=2)
    first.until_answered(1)
    second = paced(tmp_path / "second", task, *options, "--rendezvous-timeout", "3", host=lasting)
    assert second.wait() == 1, second.stderr
    assert "each needs 1 CPU on one node" in second.stderr
    hurry(first)
    assert first.wait() == 0, first.stderr
    assert_complete(first)


@real
def test_an_address_where_no_ray_is(host: RayHost, task: Path, tmp_path: Path) -> None:
    run = paced(tmp_path / "run", task, "--ray-address", "10.78.0.1:6399", host=host)
    assert run.wait() == 2, run.stderr
    assert "no Ray cluster at 10.78.0.1:6399" in run.stderr


def test_a_ray_that_does_not_start_in_time_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray gives it thirty seconds, and raises a bare Exception."""
    ray = pytest.importorskip("ray")

    def times_out(*_: object, **__: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", times_out)
    with (
        pytest.raises(ConfigurationError, match="Ray could not be started: The current node timed out"),
        _connected(None, 1),
    ):
        pass


def muster_without_ray(folder: Path, task: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`muster run` where `import ray` finds nothing."""
    hide = "import sys; sys.modules['ray'] = None\n"
    (folder / "sitecustomize.py").write_text(hide)
    command = [sys.executable, "-m", "muster", "run", "--model", "demo", "--tasks", str(task), *options]
    return subprocess.run(
        [*command, "--output", str(folder / "run")],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


def test_the_missing_extra_is_named(task: Path, tmp_path: Path) -> None:
    done = muster_without_ray(tmp_path, task, "--engine", "ray")
    assert done.returncode == 2
    assert "pip install '.[ray]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_other_engines_need_no_ray(task: Path, tmp_path: Path) -> None:
    done = muster_without_ray(tmp_path, task, "--backend", fake("Echo"), "--engine", "inline")
    assert done.returncode == 0, done.stderr


def test_ray_client_addresses_and_elastic_static_schedules_are_refused(task: Path, tmp_path: Path) -> None:
    for options, reason in (
        (["--ray-address", "ray://head:10001"], "Ray Client is not supported"),
        (["--schedule", "strided"], "say --replicas"),
        (["--collect", "gather"], "needs a launcher's ranks"),
    ):
        command = [sys.executable, "-m", "muster", "run", "--model", "demo", "--tasks", str(task)]
        done = subprocess.run(
            [*command, "--engine", "ray", *options, "--output", str(tmp_path / "run")],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        assert done.returncode == 2
        assert reason in done.stderr


@pytest.mark.parametrize(
    ("nodes", "replicas", "threads", "need", "fits"),
    [
        ([Node(16, 0), Node(16, 0)], None, None, Need(16, 0), 2),  # one per node
        ([Node(16, 0), Node(4, 0)], None, None, Need(4, 0), 5),  # the smallest node is used too
        ([Node(0, 0), Node(8, 0)], None, None, Need(8, 0), 1),  # a head node that takes no work
        ([Node(16, 0), Node(16, 0)], 8, None, Need(4, 0), 8),
        ([Node(2, 0)], 4, None, Need(1, 0), 2),  # two have to wait for room
        ([Node(16, 0)], None, 4, Need(4, 0), 4),  # OMP_NUM_THREADS
        ([Node(2, 0)], None, 16, Need(2, 0), 1),  # which no node could give
        ([Node(32, 8), Node(32, 8), Node(16, 0)], None, None, Need(1, 1), 16),
        ([], None, None, Need(1, 0), 0),  # an autoscaler that begins with nothing
    ],
)
def test_what_a_replica_needs(
    nodes: list[Node], replicas: int | None, threads: int | None, need: Need, fits: int
) -> None:
    free = sum(node.cpus for node in nodes)
    found = need_of_replica(nodes, gpus_per_replica=1, replicas=replicas, free_cpus=free, threads=threads)
    assert found == need
    assert room(nodes, found) == fits


def test_a_replica_of_several_gpus_is_placed_on_one_node() -> None:
    nodes = [Node(32, 8), Node(32, 8), Node(16, 2)]
    four = need_of_replica(nodes, gpus_per_replica=4, replicas=None, free_cpus=80, threads=None)
    assert (four, room(nodes, four)) == (Need(1, 4), 4)
    sixteen = need_of_replica(nodes, gpus_per_replica=16, replicas=None, free_cpus=80, threads=None)
    assert room(nodes, sixteen) == 0


def test_each_process_of_a_tensor_parallel_replica_gets_a_cpu() -> None:
    nodes = [Node(32, 8)]
    need = need_of_replica(nodes, gpus_per_replica=4, processes=4, replicas=None, free_cpus=32, threads=None)
    assert need == Need(4, 4, 4)
    need = need_of_replica(nodes, gpus_per_replica=4, processes=4, replicas=None, free_cpus=32, threads=2)
    assert need == Need(8, 4, 4)


def test_gpus_are_left_alone_when_the_model_runs_on_the_cpu() -> None:
    nodes = [Node(32, 8)]
    need = need_of_replica(nodes, gpus_per_replica=0, replicas=None, free_cpus=32, threads=None)
    assert need == Need(32, 0)


def test_rays_message_about_a_dead_actor_becomes_one_line() -> None:
    message = (
        "The actor died unexpectedly before finishing this task.\n\tclass_name: WorkerProcess\n\tpid: 28977\n"
        "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
        "Worker unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the "
        "process was killed by the OOM killer due to high memory usage"
    )
    assert describe_death(message) == (
        "was lost by Ray: its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker "
        "unexpectedly exits with a connection error code 2. End of file."
    )
