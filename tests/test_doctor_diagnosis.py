"""What `muster doctor` concludes, from made-up observations of clusters that nobody has at hand."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from muster.doctor.diagnosis import choose_backend, diagnose
from muster.doctor.examination import Report
from muster.doctor.explain import explain
from muster.doctor.finding import Finding, name_ranks, spans
from muster.doctor.observation import Collective, Devices, Folder, Gpu, GpuProcess, Network, Observation
from muster.doctor.rendering import print_report
from muster.machine.ranks import Ranks

GIB = 1 << 30
NODES, PER_NODE = 8, 8
WORLD = NODES * PER_NODE


def gpu(node: int, index: int, free: int = 79) -> Gpu:
    return Gpu(str(index), f"GPU-{node}-{index}", "NVIDIA H100 80GB", 80 * GIB, free * GIB)


def healthy(rank: int, per_node: int = PER_NODE, world: int = WORLD) -> Observation:
    node, local = divmod(rank, per_node)
    entries = [str(index) for index in range(per_node)]
    return Observation(
        host=f"node{node}",
        pid=1000 + rank,
        machine=f"boot{node}",
        ranks=Ranks(rank, world, local, per_node, "torchrun"),
        variables={
            "RANK": str(rank),
            "WORLD_SIZE": str(world),
            "LOCAL_RANK": str(local),
            "LOCAL_WORLD_SIZE": str(per_node),
            "GROUP_RANK": str(node),
            "GROUP_WORLD_SIZE": str(world // per_node),
            "TORCHELASTIC_RUN_ID": "job",
        },
        cpus=list(range(96)),
        devices=Devices(
            "/dev/nvidia0 exists",
            "570.1",
            "12.8",
            visible=entries,
            bound=[str(local)],
            gpus=[gpu(node, i) for i in range(per_node)],
        ),
        network=Network("eth0", f"10.0.0.{node + 1}", f"10.0.0.{node + 1}", meeting="10.0.0.1:29500"),
        folders=[
            Folder("output", "/runs", 900 * GIB, 1000 * GIB),
            Folder("cache", "/cache", 900 * GIB, 1000 * GIB),
            Folder("tmp", "/tmp", 90 * GIB, 100 * GIB),
            Folder("shm", "/dev/shm", 500 * GIB, 500 * GIB),
        ],
        versions={
            "python": "3.11.7", "muster-eval": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0",
            "accelerate": "1.15.0", "safetensors": "0.8.0", "cuda": "12.8", "nccl": "2.27.3",
        },
        settings={"OMP_NUM_THREADS": "12"},
        skew=0.002,
        collective=Collective("nccl", ok=True, seconds=1.5, step="done"),
    )  # fmt: skip


CLUSTER = [healthy(rank) for rank in range(WORLD)]


def changed(rank: int, **fields: object) -> list[Observation]:
    """The cluster, with one rank that sees something else."""
    return [replace(each, **fields) if each.rank == rank else each for each in CLUSTER]  # type: ignore[arg-type]


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, [finding.what for finding in findings]
    assert findings[0].do
    return findings[0]


def test_a_healthy_cluster_of_64_ranks_has_no_findings() -> None:
    assert diagnose(CLUSTER, 60) == []
    assert choose_backend(CLUSTER) == "nccl"


def test_absent_ranks_are_named() -> None:
    found = only(diagnose([each for each in CLUSTER if each.rank not in (7, 8, 9, 63)], 60))
    assert (found.severity, found.what) == ("error", "4 of 64 ranks did not come within 60 s: ranks 7–9, 63")
    assert found.ranks == [7, 8, 9, 63]
    assert "10.0.0.1:29500" in found.do


def test_two_processes_of_one_rank() -> None:
    doubled = [*CLUSTER, replace(CLUSTER[5], pid=99, host="node7", machine="boot7")]
    whats = [finding.what for finding in diagnose(doubled) if finding.severity == "error"]
    assert any(
        "2 processes take themselves for rank 5: pid 1005 on node0, pid 99 on node7" in what for what in whats
    )


def test_a_global_rank_taken_for_a_local_rank() -> None:
    """accelerate scripts that export LOCAL_RANK=$RANK: node 0 is fine, the others pick devices that don't exist."""
    cluster = []
    for each in CLUSTER:
        assert each.ranks is not None
        wrong = replace(each.ranks, local_rank=each.rank, local_world_size=WORLD)
        cluster.append(replace(each, ranks=wrong))
    taken = [
        finding for finding in diagnose(cluster) if "a global rank was taken for a local" in finding.what
    ]
    assert [finding.ranks for finding in taken] == [
        list(range(8 * node, 8 * node + 8)) for node in range(1, 8)
    ]
    assert "on node7 the local ranks are 56–63" in taken[-1].what


def test_local_ranks_that_repeat_on_a_node() -> None:
    ranks = CLUSTER[3].ranks
    assert ranks is not None
    findings = diagnose(changed(3, ranks=replace(ranks, local_rank=2), devices=CLUSTER[2].devices))
    assert any("share a local rank (0, 1, 2, 2, 4, 5, 6, 7)" in finding.what for finding in findings)
    assert any("ranks 2–3 on node0 use the same GPU 2 (GPU-0-2)" in finding.what for finding in findings)


def test_a_wrong_local_world_size() -> None:
    cluster = []
    for each in CLUSTER:
        assert each.ranks is not None
        cluster.append(replace(each, ranks=replace(each.ranks, local_world_size=WORLD)))
    whats = [finding.what for finding in diagnose(cluster)]
    assert "8 process(es) on node3, but the local world size says 64" in whats


OMPI = {
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_SIZE": "64",
    "OMPI_COMM_WORLD_LOCAL_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "8",
}
SLURM = {
    "SLURM_PROCID": "1",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "1(x8)",
}


def test_ranks_set_twice_by_two_launchers() -> None:
    found = only(diagnose(changed(5, variables=CLUSTER[5].variables | OMPI)))
    assert "set twice: RANK says rank 5 of 64, OMPI_COMM_WORLD_RANK says rank 3 of 64" in found.what
    assert found.ranks == [5]
    assert diagnose(changed(3, variables=CLUSTER[3].variables | OMPI)) == []  # they agree


def test_one_torchrun_per_node_inside_srun_is_no_conflict() -> None:
    inside = [replace(each, variables=each.variables | SLURM) for each in CLUSTER]
    assert diagnose(inside) == []


def test_several_torchruns_inside_srun_that_did_not_join() -> None:
    """`srun -n8 torchrun --standalone`: eight complete evaluations of the same samples, all of which look fine."""
    alone = [healthy(rank, 2, 2) for rank in range(2)]
    alone = [
        replace(each, variables=each.variables | SLURM | {"SLURM_STEP_TASKS_PER_NODE": "8"}) for each in alone
    ]
    found = only(diagnose(alone))
    assert (
        "srun started 8 tasks, but this torchrun is a group of its own with 1 node(s) and 2 ranks"
        in found.what
    )
    assert "--rdzv-endpoint" in found.do


def test_variables_that_cannot_be_right() -> None:
    variables = CLUSTER[9].variables | {"LOCAL_RANK": "9"}
    problem = "local rank 9 is not below the local world size 8; was a global rank passed as LOCAL_RANK?"
    found = only(diagnose(changed(9, variables=variables, ranks_problem=problem)))
    assert found.what == problem
    assert "picks the device" in found.do


def test_half_a_launcher() -> None:
    alone = replace(healthy(0, 1, 1), ranks=None, variables={"RANK": "3"})
    assert "RANK=3 is set but WORLD_SIZE isn't" in only(diagnose([alone])).what
    batch = replace(alone, variables={"SLURM_PROCID": "0", "SLURM_NTASKS": "8"})
    assert "put srun before" in only(diagnose([batch])).do
    asked = replace(alone, variables={}, accelerate_processes=4)
    assert "asked for 4 processes" in only(diagnose([asked])).what


def test_unequal_versions_name_who_has_which() -> None:
    versions = CLUSTER[0].versions
    cluster = [
        replace(each, versions=versions | {"torch": "2.9.1"}) if each.rank > 55 else each for each in CLUSTER
    ]
    found = only(diagnose(cluster))
    assert found.severity == "error"
    assert found.what == "unequal versions of torch: 2.13.0 on ranks 0–55, 2.9.1 on ranks 56–63"
    minor = only(diagnose(changed(1, versions=versions | {"numpy": "2.4.6"})))
    assert (minor.severity, minor.what) == (
        "warning", "unequal versions of numpy: none on ranks 0, 2–63, 2.4.6 on rank 1",
    )  # fmt: skip


def test_a_missing_extra() -> None:
    versions = {name: CLUSTER[0].versions[name] for name in ("python", "muster-eval")}
    found = only(diagnose([replace(healthy(0, 1, 1), ranks=None, variables={}, versions=versions)]))
    assert found.severity == "warning"
    assert "torch, transformers, accelerate, safetensors not installed on node0" in found.what
    assert "pip install '.[transformers]'" in found.do


def test_memory_taken_by_others_is_said_once_per_gpu() -> None:
    taken = replace(gpu(2, 3, free=20), processes=[GpuProcess(4711, "python train.py", 58 * GIB)])
    cluster = [
        replace(
            each, devices=replace(each.devices, gpus=[*each.devices.gpus[:3], taken, *each.devices.gpus[4:]])
        )
        if each.host == "node2"
        else each
        for each in CLUSTER
    ]
    found = only(diagnose(cluster))
    assert (found.severity, found.ranks) == ("error", [19])
    assert "GPU 3 of node2 has only 20.0 of 80.0 GiB free before the start" in found.what
    assert "held by pid 4711 python train.py with 58.0 GiB" in found.what
    some = replace(CLUSTER[0].devices, gpus=[gpu(0, 0, free=70)])
    assert only(diagnose(changed(0, devices=some))).severity == "warning"


def test_no_driver_where_the_others_have_one() -> None:
    dead = Devices("SLURM_JOB_GPUS=0,1", problem="Driver Not Loaded", nvidia_smi=False, visible=["0"])
    cluster = changed(12, devices=dead)
    whats = [finding.what for finding in diagnose(cluster)]
    assert (
        "GPUs are expected on node1 (SLURM_JOB_GPUS=0,1), but the NVIDIA driver doesn't answer: Driver Not "
        in whats[0]
    )
    assert "nvidia-smi is missing" in whats[0]
    assert choose_backend(cluster) == "gloo"


def test_a_laptop_without_gpus_is_healthy() -> None:
    laptop = replace(
        healthy(0, 1, 1), ranks=None, variables={}, devices=Devices(problem="Library Not Found", nvidia_smi=False)
    )  # fmt: skip
    assert diagnose([laptop]) == []


def test_nvidia_smi_alone_missing_and_the_cpu_build_of_torch() -> None:
    cpu = CLUSTER[0].versions | {"torch": "2.13.0+cpu"}
    findings = diagnose(
        [replace(each, versions=cpu, devices=replace(each.devices, nvidia_smi=False)) for each in CLUSTER]
    )
    assert {finding.severity for finding in findings} == {"error", "warning"}
    assert any("torch 2.13.0+cpu is the CPU build" in finding.what for finding in findings)
    assert any("nvidia-smi is missing on node0, though the driver 570.1 answers" in f.what for f in findings)


def test_more_processes_than_gpus() -> None:
    pair = [healthy(rank, 2, 2) for rank in range(2)]
    one = Devices("x", "570.1", visible=["0"], binding_problem="2 processes on this node share 1 GPU(s) (0)")
    found = only(diagnose([replace(each, devices=replace(one, gpus=[gpu(0, 0)])) for each in pair]))
    assert "more processes than GPUs on node0" in found.what
    assert found.ranks == [0, 1]
    assert "--nproc-per-node" in found.do
    each_its_own = [replace(each, devices=replace(one, gpus=[gpu(0, each.rank)])) for each in pair]
    assert "let every process see all" in only(diagnose(each_its_own)).do


def test_a_failed_all_reduce_is_explained() -> None:
    failed = Collective("nccl", ok=False, step="all_reduce", problem="ncclUnhandledCudaError: out of memory")
    found = only(diagnose(changed(4, collective=failed)))
    assert found.what.startswith(
        "the test all_reduce over NCCL failed at the step 'all_reduce': ncclUnhandled"
    )
    assert "nvidia-smi" in found.do


def test_a_failure_that_all_ranks_feel_is_said_once_and_its_cause_first() -> None:
    """Each rank's error names other addresses; 64 of them would bury the one that matters."""
    cluster = [
        replace(
            each,
            collective=Collective(
                "gloo", ok=False, step="x", problem=f"Timed out waiting for 10.0.0.{each.rank}"
            ),
        )
        for each in CLUSTER
    ]
    cause = Collective("gloo", ok=False, step="x", problem="Unable to find address for: ib7")
    cluster[9] = replace(cluster[9], collective=cause)
    first, second = diagnose(cluster)
    assert first.ranks == [9]
    assert "ib7" in first.what
    assert len(second.ranks) == 63
    assert second.what.endswith("Timed out waiting for 10.0.0.0 (rank 0's words)")


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1b000", "one process per GPU"),
        ("Bootstrap : no socket interface found", "NCCL_SOCKET_IFNAME"),
        ("[enforce fail at device.cc:84] ifa != nullptr. Unable to find address for: ib7", "GLOO_SOCKET_IFNAME"),
        ("Error while creating shared memory segment nccl-x: No space left on device", "--shm-size"),
        ("The NVIDIA driver on your system is too old (found version 11040)", "torch build"),
        ("CUDA error: no kernel image is available for execution on the device", "no code for this GPU"),
        ("Distributed package doesn't have NCCL built in", "without CUDA or NCCL"),
        ("Gloo connectFullMesh failed with connect failed: Connection refused", "firewall"),
        ("Connection closed by peer [10.0.0.2]:4711", "first error among all ranks"),
        ("no result from this rank: its process ended or hangs in the all_reduce", "did not take part in time"),
        ("TimeoutError: the all_reduce gave no answer within 65 s", "did not take part in time"),
        ("the all_reduce gave a wrong sum: 1.0 to 3.0 instead of 3", "NCCL_P2P_DISABLE=1"),
        ("ncclSystemError: System call (e.g. socket, malloc) or external library call failed", "NCCL_DEBUG=INFO"),
        ("something new", "doesn't know"),
    ],
)  # fmt: skip
def test_explanations(message: str, advice: str) -> None:
    assert advice in explain(message).advice


def test_addresses_that_cannot_be_between_nodes() -> None:
    bridge = [
        replace(each, network=replace(each.network, interface="docker0", address="172.17.0.1"))
        for each in CLUSTER
    ]
    assert "8 machines have the same address 172.17.0.1" in only(diagnose(bridge)).what
    own = [
        replace(each, network=replace(each.network, interface="lo", address="127.0.0.1")) for each in CLUSTER
    ]
    assert all("over its loopback lo" in finding.what for finding in diagnose(own))
    hosts_file = only(diagnose(changed(8, network=replace(CLUSTER[8].network, own_name="127.0.1.1"))))
    assert (hosts_file.severity, hosts_file.do.split(" on ")[0]) == (
        "warning",
        "export GLOO_SOCKET_IFNAME=eth0",
    )
    one_node = [healthy(rank, 2, 2) for rank in range(2)]
    assert diagnose([replace(each, network=Network("lo", "127.0.0.1")) for each in one_node]) == []


def test_the_meeting_point() -> None:
    taken = replace(CLUSTER[0].network, port_taken_by="pid 12 (redis)", meeting_problem="could not open")
    assert only(diagnose([replace(CLUSTER[0], network=taken)])).what == (
        "the rendezvous port 29500 on node0 is taken by pid 12 (redis)"
    )
    foreign = replace(CLUSTER[0].network, foreign_master=True)
    assert (
        "MASTER_ADDR=10.0.0.1 is not an address of node0" in only(diagnose(changed(0, network=foreign))).what
    )


def test_clocks_and_disks() -> None:
    assert "the clock of node6 is 95 s behind rank 0's" in only(diagnose(changed(50, skew=-95.2))).what
    full = [Folder("output", "/runs", 0, GIB), Folder("tmp", "/tmp", 50 << 20, GIB)]
    findings = diagnose(changed(0, folders=[*full, *CLUSTER[0].folders[1:2]]))
    assert [f.severity for f in findings if f.what.startswith("little space")] == ["error", "error"]
    elsewhere = only(
        diagnose(changed(3, folders=[full[0], *CLUSTER[3].folders[1:3], Folder("shm", "/dev/shm", 64 << 20)]))
    )
    assert (
        "shared memory /dev/shm on node0: 64 MiB free" in elsewhere.what
    )  # only rank 0 needs the output folder


def test_threads_and_settings() -> None:
    unset = diagnose([replace(each, settings={}) for each in CLUSTER])
    assert len(unset) == NODES
    assert unset[0].do == "export OMP_NUM_THREADS=12"
    pinned = [replace(each, settings={}, cpus=[each.rank]) for each in CLUSTER]
    assert diagnose(pinned) == []
    assert "NCCL_IB_DISABLE differs" in only(
        diagnose(changed(2, settings={"OMP_NUM_THREADS": "1", "NCCL_IB_DISABLE": "1"}))
    ).what  # fmt: skip
    other = [replace(f, path="/home/x") if f.use == "cache" else f for f in CLUSTER[0].folders]
    assert (
        "different cache folders: /home/x on rank 0, /cache on ranks 1–7"
        in only(diagnose(changed(0, folders=other))).what
    )


def test_the_report_says_what_differs_per_rank_and_the_rest_once() -> None:
    cluster = changed(1, versions=CLUSTER[1].versions | {"torch": "2.9.1"})
    text = io.StringIO()
    print_report(Report(False, cluster, diagnose(cluster)), Console(width=160, file=text))
    lines = text.getvalue().splitlines()
    assert sum("2.13.0" in line for line in lines) == WORLD  # 63 rows, and the finding
    assert sum("5.23.0" in line for line in lines) == 1
    assert any("node7" in line and "7 NVIDIA H100" in line for line in lines)


@given(st.sets(st.integers(0, 99)))
def test_spans_name_exactly_these_numbers(numbers: set[int]) -> None:
    told: set[int] = set()
    for part in filter(None, spans(numbers).split(", ")):
        low, _, high = part.partition("–")
        told |= set(range(int(low), int(high or low) + 1))
    assert told == numbers
    assert name_ranks(numbers).startswith("rank " if len(numbers) == 1 else "ranks ")
