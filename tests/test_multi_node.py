"""Several nodes that share no disk: network namespaces as hosts, each with its own disk, name, home and network.

Tools that pass results through files fail here, as do those that take a local rank for a global one, that wait in a
barrier for a node that is gone, or that think every node has the benchmark's images.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from gates import MODELS, answers_of, gate, open_gate_in
from netns import Host, Network, ip, listing, needs_namespaces, network
from netns_models import write_pictures
from processes import DEADLINE, SMALL_LAUNCHER, Run, fake, start_program, watches_of, write_benchmark

pytestmark = [pytest.mark.root, pytest.mark.slow, needs_namespaces]
SAMPLES = 120
PORT = 29500


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Network]:
    with network(tmp_path, 2) as made:
        yield made


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Network]:
    with network(tmp_path, 3) as made:
        yield made


def start_on(
    host: Host, launcher: Sequence[str], task: Path, env: Mapping[str, str] | None = None, **options: object
) -> Run:
    """Start `muster run` on a host. The run folder is relative: it belongs to whichever host writes it."""
    given: dict[str, object] = {
        "model": "demo",
        "tasks": task,
        "backend": fake("Echo"),
        "progress": "plain",
        "output": "run",
        "worker_timeout": 20,
        "rendezvous_timeout": 200,
        **options,
    }
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    process = start_program(
        [*launcher, "-m", "muster", "run", *words],
        on=host,
        cwd=host.disk,
        env=host.environment(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    return Run(process, host.disk / "run")


def torchrun(nodes: str, processes: int, *options: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nnodes={nodes}",
        f"--nproc-per-node={processes}",
        *options,
    ]


def static(host: Host, nodes: int, processes: int, *options: str) -> list[str]:
    """torchrun with static rendezvous."""
    place = [f"--node-rank={host.number - 1}", "--master-addr=10.77.0.1", f"--master-port={PORT}"]
    return torchrun(str(nodes), processes, *place, *options)


def small(host: Host, counts: Sequence[int], *options: str) -> list[str]:
    """The small launcher for `counts` ranks on the hosts, of which this is one."""
    before = sum(counts[: host.number - 1])
    place = [str(counts[host.number - 1]), "--world", str(sum(counts)), "--first", str(before)]
    told = coordinator(host)
    meeting = ["--at", told["MUSTER_COORDINATOR"], "--secret", told["MUSTER_COORDINATOR_SECRET_FILE"]]
    return [sys.executable, "-I", "-S", str(SMALL_LAUNCHER), *place, *meeting, *options]


def elastic(host: Host, nodes: str, processes: int, *options: str) -> list[str]:
    """torchrun with c10d rendezvous on the first host."""
    meeting = [
        "--rdzv-backend=c10d",
        "--rdzv-id=muster",
        f"--rdzv-endpoint=10.77.0.1:{PORT}",
        f"--rdzv-conf=is_host={int(host.number == 1)}",
        f"--local-addr={host.address}",
    ]
    return torchrun(nodes, processes, *meeting, *options)


def coordinator(host: Host) -> dict[str, str]:
    """Where ranks meet that were told beforehand; the secret lies where all hosts see it."""
    secret = host.disk.parent / "secret"
    secret.write_text("a secret of these nodes")
    return {"MUSTER_COORDINATOR": f"10.77.0.1:{PORT}", "MUSTER_COORDINATOR_SECRET_FILE": str(secret)}


def rank(number: int, world: int) -> dict[str, str]:
    """One process per node whose ranks somebody set by hand, as a Kubernetes operator does."""
    return {"RANK": str(number), "WORLD_SIZE": str(world), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}


STORE = {"MASTER_ADDR": "10.77.0.1", "MASTER_PORT": str(PORT)}
"""Where ranks meet in a c10d store that rank 0 hosts."""
ALONE = [sys.executable]


def gated(host: Host, seconds: float = 0.05, **options: object) -> dict[str, Any]:
    """Options with which `host`'s own workers go on only when its gate is open."""
    return {**gate(host.disk, seconds), **options}


def open_gate(host: Host) -> None:
    open_gate_in(host.disk)


def attempts_of(run: Run) -> int:
    return len(json.loads((run.output / "manifest.json").read_text())["attempts"])


def assert_complete(run: Run, count: int = SAMPLES, errored: int = 0) -> None:
    """All samples are scored once, and everything that belongs to a run folder is there."""
    results = run.results()
    task = results.tasks["echo"]
    assert (task.samples.succeeded, task.samples.errored) == (count - errored, errored), run.logs()
    if not errored:
        assert task.metrics["accuracy"].value == 1.0
    answered = Counter(record.completion.key for record in run.journal())
    assert len(answered) == count
    assert set(answered.values()) == {1}
    assert {"manifest.json", "journal.jsonl", "samples.parquet", "logs"} <= listing(run.output)


def workers_of(run: Run) -> set[str]:
    return {record.worker for record in run.journal()}


def test_three_nodes_of_unequal_size(three: Network) -> None:
    """Only the first node has the benchmark, and only it gets a run folder."""
    first, *others = three.hosts
    task = write_benchmark(first.disk / "bench", SAMPLES)
    options: dict[str, Any] = {"schedule": "contiguous", "model_args": "seconds=0.1"}
    runs = [start_on(host, small(host, [1, 2, 3]), task, **options) for host in three.hosts]
    assert [run.wait() for run in runs] == [0, 0, 0], "\n".join(run.stderr for run in runs)
    assert_complete(runs[0])
    assert workers_of(runs[0]) == {f"worker-{number}" for number in range(6)}
    assert {entry.name for entry in (runs[0].output / "logs").iterdir()} == {
        f"worker-{number}.log" for number in range(6)
    }
    assert listing(first.disk) == {"bench", "run"}
    assert [listing(host.disk) for host in others] == [set(), set()]


def test_c10d_rendezvous_and_a_gather_over_gloo(two: Network) -> None:
    first, second = two.hosts
    task = write_benchmark(first.disk / "bench", SAMPLES)
    runs = [
        start_on(
            host,
            elastic(host, "2", 2),
            task,
            env={"GLOO_SOCKET_IFNAME": "eth0"},
            collect="gather",
            model_args="seconds=0.03",
        )
        for host in two.hosts
    ]
    assert [run.wait() for run in runs] == [0, 0], "\n".join(run.stderr for run in runs)
    assert_complete(runs[0])
    assert workers_of(runs[0]) == {"worker-0", "worker-1", "worker-2", "worker-3"}
    assert "the gather failed" not in runs[0].logs()
    assert listing(second.disk) == set()


def test_a_node_that_joins_later_restarts_the_elastic_group_from_the_journal(two: Network) -> None:
    first, second = two.hosts
    task = write_benchmark(first.disk / "bench", SAMPLES)
    # With torch 2.13's shared store a node that joins later waits in vain for the master's address.
    env = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    runs = [start_on(first, elastic(first, "1:2", 1), task, env, **gated(first))]
    runs[0].until_answered(5)
    runs += [start_on(second, elastic(second, "1:2", 1), task, env, **gated(first))]
    runs[0].until(lambda: answers_of(runs[0], "worker-1") > 0, "the second node")
    open_gate(first)
    assert [run.wait() for run in runs] == [0, 0], "\n".join(run.stderr for run in runs)
    assert_complete(runs[0])
    assert attempts_of(runs[0]) == 2


@pytest.mark.parametrize(("victim", "launcher"), [(0, "small"), (1, "torchrun")])
def test_a_killed_node_is_restarted_and_comes_back(two: Network, victim: int, launcher: str) -> None:
    """torchrun counts restarts per node: after one, the ranks of the two nodes disagree about the attempt."""
    first = two.hosts[0]
    task = write_benchmark(first.disk / "bench", 60)
    options = gated(first, seconds=0.5, worker_timeout=3)

    def started_by(host: Host) -> list[str]:
        if launcher == "torchrun":
            return static(host, 2, 1, "--max-restarts=1")
        return small(host, [1, 1], "--restarts", "1")

    runs = [start_on(host, started_by(host), task, **options) for host in two.hosts]
    runs[0].until(lambda: answers_of(runs[0], "worker-1") > 2, "answers of the second node")
    for process in two.hosts[victim].workers():
        process.send_signal(signal.SIGKILL)
    before = answers_of(runs[0], "worker-1") + 2
    runs[0].until(lambda: answers_of(runs[0], "worker-1") > before, "the second node's return")
    open_gate(first)
    assert [run.wait() for run in runs] == [0, 0], "\n".join(run.stderr for run in runs)
    assert_complete(runs[0], 60)
    assert attempts_of(runs[0]) == (2 if victim == 0 else 1)


@pytest.mark.parametrize("stopped", ["worker", "rank"])
def test_what_stands_still_alone_on_its_node_keeps_no_launcher_waiting(two: Network, stopped: str) -> None:
    """Nobody else on that node could end it, and its launcher waited for ever."""
    first, second = two.hosts
    task = write_benchmark(first.disk / "bench", 60)
    options = gated(first, worker_timeout=3)
    runs = [start_on(host, small(host, [1, 1]), task, **options) for host in two.hosts]
    runs[0].until(lambda: answers_of(runs[0], "worker-1") > 0, "answers of the second node")
    (victim,) = second.models() if stopped == "worker" else second.workers()
    victim.send_signal(signal.SIGSTOP)
    open_gate(first)
    assert [run.wait() for run in runs] == [0, 0], "\n".join(run.stderr for run in runs)
    assert_complete(runs[0], 60)


def test_a_rank_that_was_stopped_before_it_had_a_worker_goes_on(two: Network) -> None:
    """Nobody else is on its node, whose launcher waited for ever."""
    first, second = two.hosts
    task = write_benchmark(first.disk / "bench", 60)
    runs = [start_on(host, small(host, [1, 1]), task, **gated(first)) for host in two.hosts]
    runs[1].until(second.workers, "the rank")
    (rank,) = second.workers()
    runs[1].until(lambda: watches_of(rank), "who looks after it")
    rank.send_signal(signal.SIGSTOP)
    runs[0].until(lambda: answers_of(runs[0], "worker-1") > 0, "answers of the second node")
    open_gate(first)
    assert [run.wait() for run in runs] == [0, 0], "\n".join(run.stderr for run in runs)
    assert_complete(runs[0], 60)


def test_a_node_that_loses_power_is_done_without(two: Network) -> None:
    """Its launcher dies with it. The other node's launcher may wait for it afterwards; the results are there."""
    first, second = two.hosts
    task = write_benchmark(first.disk / "bench", SAMPLES)
    options = gated(first, seconds=0.3)
    runs = [start_on(host, small(host, [2, 3]), task, **options) for host in two.hosts]
    runs[0].until(lambda: answers_of(runs[0], "worker-4") > 0, "answers of the second node")
    second.kill()
    open_gate(first)
    runs[0].until(lambda: (runs[0].output / "results.json").exists(), "the results")
    time.sleep(1)
    first.kill()
    for run in runs:
        run.process.communicate(timeout=DEADLINE)
    assert_complete(runs[0])


def test_late_absent_and_superfluous_ranks(three: Network) -> None:
    """A rank that comes late takes part, one that never comes is named, one that comes too late is let go."""
    first, second, third = three.hosts
    task = write_benchmark(first.disk / "bench", SAMPLES)
    options = gated(first, schedule="strided", rendezvous_timeout=5)
    run = start_on(first, ALONE, task, env=rank(0, 4) | coordinator(first), **options)
    run.until_answered(5)
    late = start_on(second, ALONE, task, env=rank(1, 4) | coordinator(second), **gated(first))
    run.until(lambda: answers_of(run, "worker-1") > SAMPLES // 4, "the late rank, and the absent ones' work")
    open_gate(first)
    assert run.wait() == 0, run.stderr
    assert late.wait() == 0, late.stderr
    assert_complete(run)
    assert "worker-2, worker-3 never came; going on without" in run.stderr

    # Nothing is left to do, and nobody may wait for work.
    again = start_on(first, ALONE, task, env=rank(0, 2) | STORE, **gated(first))
    superfluous = start_on(third, ALONE, task, env=rank(1, 2) | STORE, **gated(first))
    assert again.wait() == 0, again.stderr
    assert superfluous.wait() == 0, superfluous.stderr
    assert "rank 0 has ended" in superfluous.stderr


def test_a_short_cut_is_survived_and_a_long_one_costs_nothing_but_time(two: Network) -> None:
    first, second = two.hosts
    task = write_benchmark(first.disk / "bench", 50)
    options = gated(first, seconds=0.4, worker_timeout=6)
    runs = [
        start_on(host, ALONE, task, env=rank(host.number - 1, 2) | coordinator(host), **options)
        for host in two.hosts
    ]
    runs[0].until(lambda: answers_of(runs[0], "worker-1") > 0, "the second node")
    two.cut(second)
    time.sleep(1.5)
    before = answers_of(runs[0], "worker-1")
    two.mend(second)
    runs[0].until(lambda: answers_of(runs[0], "worker-1") > before, "the second node's return")
    two.cut(second)
    open_gate(first)
    assert runs[0].wait() == 0, runs[0].stderr
    assert_complete(runs[0], 50)
    assert runs[0].stderr.count("worker-1 was lost") == 1
    assert "worker-1 was lost: silent for" in runs[0].stderr
    two.mend(second)
    assert runs[1].wait() == 1  # it ends by itself, and says why
    assert "the coordinator has been gone" in runs[1].stderr


def test_an_interface_that_does_not_join_the_nodes(two: Network) -> None:
    """Whoever set the wrong one learns which there are; a rank that can't connect says where it tried."""
    first, second = two.hosts
    task = write_benchmark(first.disk / "bench", 20)
    for wrong in ({"GLOO_SOCKET_IFNAME": "lo"}, {"NCCL_SOCKET_IFNAME": "eth1"}):
        run = start_on(
            first, ALONE, task, env=rank(0, 2) | STORE | wrong, output="wrong", rendezvous_timeout=1
        )
        assert run.wait() == 2
        (variable,) = wrong
        assert f"{variable}={wrong[variable]}" in run.stderr
        assert "eth0 (10.77.0.1)" in run.stderr
    ip("-n", first.namespace, "link", "add", "eth1", "type", "bridge")
    ip("-n", first.namespace, "addr", "add", "192.168.55.1/24", "dev", "eth1")
    ip("-n", first.namespace, "link", "set", "eth1", "up")
    options = gated(first, rendezvous_timeout=12)
    run = start_on(first, ALONE, task, env=rank(0, 2) | STORE | {"NCCL_SOCKET_IFNAME": "eth1"}, **options)
    run.until_answered(1)  # what it has to say is in its store
    lost = start_on(second, ALONE, task, env=rank(1, 2) | STORE, **options)
    assert lost.wait() == 1
    open_gate(first)
    assert "cannot reach the coordinator, which rank 0 says is at 192.168.55.1:" in lost.stderr
    assert "set GLOO_SOCKET_IFNAME" in lost.stderr
    assert "eth0 (10.77.0.2)" in lost.stderr
    assert run.wait() == 0
    assert "worker-1 never came" in run.stderr
    assert_complete(run, 20)


def test_images_reach_nodes_that_do_not_have_them(three: Network) -> None:
    """One file is missing everywhere: that sample fails, wherever it is answered, and nothing else does."""
    first = three.hosts[0]
    task = write_pictures(first.disk / "bench", SAMPLES)
    options: dict[str, Any] = {
        "backend": f"{MODELS}:Pixels",
        "model_args": "seconds=0.2",
        "schedule": "contiguous",
    }
    runs = [
        start_on(host, ALONE, task, env=rank(host.number - 1, 3) | coordinator(host), **options)
        for host in three.hosts
    ]
    assert [run.wait() for run in runs] == [3, 0, 0], "\n".join(run.stderr for run in runs)
    assert_complete(runs[0], errored=1)
    assert workers_of(runs[0]) == {"worker-0", "worker-1", "worker-2"}
    (failed,) = (record.completion for record in runs[0].journal() if record.completion.failure)
    assert failed.key.sample_id == "s5"
    assert failed.failure is not None
    assert "5.png does not exist" in failed.failure.message
    right = {record.completion.key.sample_id: record.completion.text for record in runs[0].journal()}
    assert all(right[f"s{number}"] == f"({number}, 0, 0)" for number in range(SAMPLES) if number != 5)


def test_sigterm_ends_a_rank_that_waits_for_rank_0(two: Network) -> None:
    second = two.hosts[1]
    run = start_on(second, ALONE, write_benchmark(second.disk, 1), env=rank(1, 2) | coordinator(second))
    run.until(second.models, "its worker, which looks for rank 0")
    for process in second.workers():
        process.send_signal(signal.SIGTERM)
    assert run.wait() == 143
    assert "while waiting for rank 0" in run.stderr
