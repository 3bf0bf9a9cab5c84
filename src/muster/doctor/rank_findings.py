"""Ranks that are missing, doubled, contradictory, or taken for local ranks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from muster.doctor.finding import Finding, Symptom, by_node, by_value, differing, grouped, name_ranks, spans
from muster.doctor.observation import Observation
from muster.doctor.rank_claims import Claim, claims

_ONE_LAUNCHER = (
    "let one launcher start the processes, and unset the other's variables (`env | grep RANK` shows them)"
)


def rank_findings(observations: Sequence[Observation], waited: float | None) -> Iterator[Finding]:
    """Everything about who is who."""
    yield from grouped(symptom for observation in observations for symptom in _own(observation))
    yield from _absent(observations, waited)
    yield from _doubled(observations)
    yield from _world_sizes(observations)
    yield from grouped(_local_ranks(observations))


def _own(observation: Observation) -> Iterator[Symptom]:
    claimed = claims(observation.variables)
    problems = [observation.ranks_problem, *(claim.problem for claim in claimed)]
    for problem in dict.fromkeys(filter(None, problems)):
        yield Symptom(observation, "error", problem, _advice(problem))
    if claimed and claimed[0].ranks is not None:
        for other in claimed[1:]:
            yield from _conflict(observation, claimed[0], other)
    yield from _half_set(observation)


def _advice(problem: str) -> str:
    if "below the local world size" in problem:
        return (
            "LOCAL_RANK counts from 0 on each node and picks the device; RANK counts over all nodes. "
            "Don't export LOCAL_RANK yourself: torchrun and accelerate set it"
        )
    return _ONE_LAUNCHER


def _conflict(observation: Observation, used: Claim, other: Claim) -> Iterator[Symptom]:
    """Two launchers' ranks. A torchrun inside srun or mpirun is fine when each outer task is one agent of its group."""
    assert used.ranks is not None
    if other.ranks is None or (other.ranks.rank, other.ranks.world_size) == (
        used.ranks.rank,
        used.ranks.world_size,
    ):
        return
    agents = _agents(observation.variables)
    if agents is not None and other.ranks.world_size == agents:
        return
    if agents is not None and other.ranks.world_size != used.ranks.world_size:
        yield Symptom(
            observation,
            "error",
            f"a rank variable is set twice: {_LAUNCHED[other.launcher]} started {other.ranks.world_size} tasks, but "
            f"this torchrun is a group of its own with {agents} node(s) and {used.ranks.world_size} ranks",
            "start one torchrun per node, all with the same --nnodes and --rdzv-endpoint; or let "
            f"{_LAUNCHED[other.launcher]} start `muster` itself, without torchrun",
        )
        return
    yield Symptom(
        observation,
        "error",
        f"a rank variable is set twice: {_VARIABLE[used.launcher]} says rank {used.ranks.rank} of "
        f"{used.ranks.world_size}, {_VARIABLE[other.launcher]} says rank {other.ranks.rank} of "
        f"{other.ranks.world_size}; Muster goes by {_VARIABLE[used.launcher]}",
        _ONE_LAUNCHER,
    )


_VARIABLE = {
    "torchrun": "RANK",
    "openmpi": "OMPI_COMM_WORLD_RANK",
    "mpich": "PMI_RANK",
    "slurm": "SLURM_PROCID",
    "accelerate": "--machine_rank",
}
_LAUNCHED = {
    "torchrun": "torchrun",
    "openmpi": "mpirun",
    "mpich": "mpiexec",
    "slurm": "srun",
    "accelerate": "accelerate",
}


def _agents(variables: Mapping[str, str]) -> int | None:
    """How many torchrun agents make up the group, where torchrun itself started this process."""
    count = variables.get("GROUP_WORLD_SIZE", "")
    return int(count) if "TORCHELASTIC_RUN_ID" in variables and count.isdigit() else None


def _half_set(observation: Observation) -> Iterator[Symptom]:
    variables = observation.variables
    if ("RANK" in variables) != ("WORLD_SIZE" in variables):
        there, lacking = ("RANK", "WORLD_SIZE") if "RANK" in variables else ("WORLD_SIZE", "RANK")
        yield Symptom(
            observation,
            "warning",
            f"{there}={variables[there]} is set but {lacking} isn't, so this process counts as one that was "
            "started alone",
            f"unset {there}, or start with torchrun, accelerate, srun or mpirun",
        )
    tasks = variables.get("SLURM_NTASKS", "1")
    if observation.ranks is None and tasks.isdigit() and int(tasks) > 1:
        yield Symptom(
            observation,
            "warning",
            f"this job has {tasks} Slurm tasks, but this process is not one of them: it runs alone",
            "put srun before the command",
        )
    if observation.accelerate_processes and observation.accelerate_processes > 1:
        yield Symptom(
            observation,
            "warning",
            f"accelerate launch was asked for {observation.accelerate_processes} processes and started one, "
            "so the ranks can't be examined",
            "nothing for `muster run`, which starts the others itself; to examine ranks, use torchrun",
        )


def _absent(observations: Sequence[Observation], waited: float | None) -> Iterator[Finding]:
    sizes = [observation.ranks.world_size for observation in observations if observation.ranks is not None]
    if not sizes or any(observation.network.meeting_problem for observation in observations):
        return  # who had nowhere to go isn't absent
    absent = sorted(set(range(max(sizes))) - {observation.rank for observation in observations})
    if absent:
        limit = f" within {waited:g} s" if waited is not None else ""
        yield Finding(
            "error",
            f"{len(absent)} of {max(sizes)} ranks did not come{limit}: {name_ranks(absent)}",
            "look at their output and their node: was it started, is torch installed there, does it reach "
            f"{observations[0].network.meeting or 'rank 0'}? Raise --timeout for slow nodes",
            absent,
        )


def _doubled(observations: Sequence[Observation]) -> Iterator[Finding]:
    counts = Counter(observation.rank for observation in observations if observation.ranks is not None)
    for rank, count in counts.items():
        if count > 1:
            which = ", ".join(f"pid {each.pid} on {each.host}" for each in observations if each.rank == rank)
            yield Finding(
                "error", f"{count} processes take themselves for rank {rank}: {which}", _ONE_LAUNCHER, [rank]
            )


def _world_sizes(observations: Sequence[Observation]) -> Iterator[Finding]:
    ranked = [observation for observation in observations if observation.ranks is not None]
    found = by_value(ranked, (str(each.ranks.world_size) for each in ranked if each.ranks is not None))
    if len(found) > 1:
        yield Finding(
            "error",
            f"ranks disagree on the world size: {differing(found)}",
            "start all nodes with the same --nnodes and --nproc-per-node",
        )


def _local_ranks(observations: Sequence[Observation]) -> Iterator[Symptom]:
    nodes = by_node(each for each in observations if each.ranks is not None and not each.ranks_problem)
    complete = sum(map(len, nodes)) == max(
        (each.ranks.world_size for each in observations if each.ranks), default=0
    )
    for members in nodes:
        numbers = [each.ranks.local_rank for each in members if each.ranks is not None]
        told = {each.ranks.local_world_size for each in members if each.ranks is not None}
        if _are_global_ranks(members, len(nodes)):
            for each in members:
                yield Symptom(
                    each,
                    "error",
                    f"a global rank was taken for a local rank: on {each.host} the local ranks are {spans(numbers)}, "
                    f"the same as the global ranks, instead of {spans(range(len(numbers)))}",
                    "LOCAL_RANK must count from 0 on each node, it picks the device; don't export LOCAL_RANK=$RANK "
                    "(under Slurm it is SLURM_LOCALID)",
                )
        elif len(set(numbers)) < len(numbers):
            for each in members:
                yield Symptom(
                    each,
                    "error",
                    f"processes of {each.host} share a local rank ({', '.join(map(str, sorted(numbers)))}), "
                    "and so a device",
                    "start one launcher per node, which counts local ranks from 0",
                )
        elif complete and told != {len(members)}:
            for each in members:
                yield Symptom(
                    each,
                    "error",
                    f"{len(members)} process(es) on {each.host}, but the local world size says "
                    f"{', '.join(map(str, sorted(told)))}",
                    "set LOCAL_WORLD_SIZE to the processes of each node, or let the launcher do it",
                )


def _are_global_ranks(members: Sequence[Observation], nodes: int) -> bool:
    pairs = [(each.ranks.rank, each.ranks.local_rank) for each in members if each.ranks is not None]
    return nodes > 1 and all(rank == local for rank, local in pairs) and min(local for _, local in pairs) > 0
