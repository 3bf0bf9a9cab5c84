"""Drivers, GPUs, their memory, how ranks share them, and the all_reduce over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from muster.doctor.explain import explain
from muster.doctor.finding import Finding, Symptom, by_node, grouped, name_ranks
from muster.doctor.observation import Gpu, Observation

_GIB = 1 << 30
MEMORY_WARNING = 0.05
"""Taken share of a GPU's memory from which it is a warning (a desktop takes a few hundred MB)."""
MEMORY_ERROR = 0.5
"""And from which it is an error: a model that was sized for the GPU won't load."""


def device_findings(observations: Sequence[Observation]) -> Iterator[Finding]:
    """Everything about devices."""
    yield from grouped(symptom for observation in observations for symptom in _driver(observation))
    yield from grouped(symptom for node in by_node(observations) for symptom in _binding(node))
    yield from grouped(symptom for observation in observations for symptom in _replica(observation))
    yield from _uneven(observations)
    yield from _shared(observations)
    yield from _memory(observations)
    yield from _collective(observations)


def _driver(observation: Observation) -> Iterator[Symptom]:
    devices = observation.devices
    if devices.problem and devices.expected:
        missing = "" if devices.nvidia_smi else ", and nvidia-smi is missing"
        yield Symptom(
            observation,
            "error",
            f"GPUs are expected on {observation.host} ({devices.expected}), but the NVIDIA driver doesn't answer: "
            f"{devices.problem}{missing}",
            "install or load the driver (`nvidia-smi` must work); in a container, start it with the GPUs "
            "(`--gpus all`, `--nv`); on a machine without GPUs, unset CUDA_VISIBLE_DEVICES",
        )
    elif devices.driver and not devices.nvidia_smi:
        yield Symptom(
            observation,
            "warning",
            f"nvidia-smi is missing on {observation.host}, though the driver {devices.driver} answers",
            "nothing for Muster, which asks the driver itself; the driver's utilities may not be in this container",
        )
    for gpu in devices.gpus:
        if gpu.problem:
            yield Symptom(
                observation,
                "error",
                f"{observation.host} has no usable GPU {gpu.entry}: {gpu.problem}",
                "correct CUDA_VISIBLE_DEVICES; `nvidia-smi -L` lists the GPUs",
            )
    torch = observation.versions.get("torch", "")
    if devices.driver and devices.visible and torch.endswith("+cpu"):
        yield Symptom(
            observation,
            "error",
            f"torch {torch} is the CPU build and can't use the GPUs of {observation.host}",
            "install the CUDA build of torch",
        )


def _binding(node: Sequence[Observation]) -> Iterator[Symptom]:
    do = (
        "start one process per GPU (--nproc-per-node, --ntasks-per-node, -np), or evaluate on the CPU with "
        "--model-args device=cpu"
    )
    if _own_gpu_each(node):
        do = (
            "each process was given a GPU that the others don't see, and Muster can't tell that from too few GPUs: "
            "let every process see all of its node's GPUs"
        )
    for observation in node:
        if observation.devices.binding_problem:
            problem = f"more processes than GPUs on {observation.host}: {observation.devices.binding_problem}"
            yield Symptom(observation, "error", problem, do)


def _replica(observation: Observation) -> Iterator[Symptom]:
    if observation.replica_problem:
        yield Symptom(
            observation,
            "error",
            f"these ranks and GPUs don't make up replicas: {observation.replica_problem}",
            "start another number of processes, or choose another --gpus-per-replica; `muster run` would end with this",
        )


def _own_gpu_each(node: Sequence[Observation]) -> bool:
    uuids = [gpu.uuid for observation in node for gpu in observation.devices.gpus if gpu.uuid]
    return len(node) > 1 and len(set(uuids)) == len(node) == len(uuids)


def _uneven(observations: Sequence[Observation]) -> Iterator[Finding]:
    counts: dict[int, list[Observation]] = {}
    for observation in observations:
        counts.setdefault(len(observation.devices.visible), []).append(observation)
    if len(counts) > 1:
        seen = ", ".join(
            f"{count or 'no'} GPU(s) on {name_ranks(each.rank for each in members)} ({_hosts(members)})"
            for count, members in sorted(counts.items(), reverse=True)
        )
        severity = "error" if 0 in counts else "warning"
        yield Finding(
            "error" if severity == "error" else "warning",
            f"not all ranks see as many GPUs: {seen}",
            "check the driver, the allocation (--gpus-per-node) and CUDA_VISIBLE_DEVICES of the nodes with fewer",
        )


def _hosts(members: Sequence[Observation]) -> str:
    names = sorted({each.host for each in members})
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _shared(observations: Sequence[Observation]) -> Iterator[Finding]:
    users: dict[str, list[Observation]] = {}
    for observation in observations:
        for gpu in observation.devices.gpus:
            if gpu.uuid and gpu.entry in observation.devices.bound and observation.ranks is not None:
                users.setdefault(gpu.uuid, []).append(observation)
    for uuid, members in users.items():
        if len(members) > 1:
            entry = next(gpu.entry for gpu in members[0].devices.gpus if gpu.uuid == uuid)
            ranks = [each.rank for each in members]
            yield Finding(
                "error",
                f"{name_ranks(ranks)} on {_hosts(members)} use the same GPU {entry} ({uuid})",
                "start one process per GPU; the local rank, not the global one, picks the device",
                ranks,
            )


def _memory(observations: Sequence[Observation]) -> Iterator[Finding]:
    seen: set[str] = set()
    for observation in observations:
        for gpu in observation.devices.gpus:
            taken = gpu.total - gpu.free
            if not gpu.total or gpu.uuid in seen or taken < max(MEMORY_WARNING * gpu.total, _GIB / 2):
                continue
            seen.add(gpu.uuid)
            users = [
                each.rank
                for each in observations
                if each.ranks is not None
                and any(own.uuid == gpu.uuid and own.entry in each.devices.bound for own in each.devices.gpus)
            ]
            yield Finding(
                "error" if taken > MEMORY_ERROR * gpu.total else "warning",
                f"GPU {gpu.entry} of {observation.host} has only {gpu.free / _GIB:.1f} of {gpu.total / _GIB:.1f} GiB "
                f"free before the start; {_holders(gpu)}",
                "end those processes (leftovers of a crashed run: kill), or use other GPUs (CUDA_VISIBLE_DEVICES)",
                users,
            )


def _holders(gpu: Gpu) -> str:
    if not gpu.processes:
        return "who holds the rest is not visible from here (another container or user)"
    named = [
        f"pid {each.pid}"
        + (f" {each.name}" if each.name else "")
        + (f" with {each.used / _GIB:.1f} GiB" if each.used is not None else "")
        for each in gpu.processes
    ]
    return "held by " + ", ".join(named)


def _collective(observations: Sequence[Observation]) -> Iterator[Finding]:
    """One finding per kind of failure, causes before consequences; each rank's own words differ in addresses."""
    kinds: dict[tuple[int, str, str], list[Observation]] = {}
    for observation in observations:
        test = observation.collective
        if test is not None and not test.ok:
            order, _advice = explain(test.problem)
            kinds.setdefault((order, test.backend, test.step), []).append(observation)
    for (_order, backend, step), members in sorted(kinds.items(), key=lambda kind: kind[0]):
        first = members[0].collective
        assert first is not None
        yield Finding(
            "error",
            f"the test all_reduce over {_BACKENDS[backend]} failed"
            + (f" at the step {step!r}: " if step else ": ")
            + first.problem
            + (f" (rank {members[0].rank}'s words)" if len(members) > 1 else ""),
            explain(first.problem).advice,
            [each.rank for each in members if each.ranks is not None],
        )


_BACKENDS = {"nccl": "NCCL", "gloo": "Gloo"}
