"""Versions, settings, threads and disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from muster.doctor.finding import Finding, Symptom, by_node, by_value, differing, grouped
from muster.doctor.observation import Folder, Observation

_GIB = 1 << 30
DECISIVE = ("muster-eval", "torch", "transformers", "cuda", "nccl")
"""Packages that must be the same on all ranks: answers, messages or collectives depend on them."""
EXTRA = ("torch", "transformers", "accelerate", "safetensors")
ENOUGH_OUTPUT = 1 * _GIB
ENOUGH_TMP = 1 * _GIB
ENOUGH_CACHE = 20 * _GIB
"""A model of 7 billion parameters takes 15 GB."""
ENOUGH_SHM = 1 * _GIB
NOTHING_LEFT = 100 << 20
_EQUAL_SETTINGS = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT", "HF_TOKEN", "CUDA_DEVICE_ORDER")
_EQUAL_PREFIX = "NCCL_"
_OWN_SETTINGS = ("NCCL_SOCKET_IFNAME", "NCCL_IB_HCA", "NCCL_DEBUG_FILE", "NCCL_TOPO_FILE")
"""These may well differ between nodes."""


def software_findings(observations: Sequence[Observation]) -> Iterator[Finding]:
    """Everything that is installed, set or full."""
    yield from grouped(symptom for observation in observations for symptom in _extra(observation))
    yield from _versions(observations)
    yield from _settings(observations)
    yield from grouped(symptom for node in by_node(observations) for symptom in _threads(node))
    yield from grouped(symptom for observation in observations for symptom in _disk(observation))


def _extra(observation: Observation) -> Iterator[Symptom]:
    missing = [name for name in EXTRA if name not in observation.versions]
    if missing:
        yield Symptom(
            observation,
            "warning",
            f"{', '.join(missing)} not installed on {observation.host}: the transformers backend "
            "and launchers with ranks need it",
            "in Muster's clone, pip install '.[transformers]'",
        )


def _versions(observations: Sequence[Observation]) -> Iterator[Finding]:
    names = {name: None for observation in observations for name in observation.versions}
    for name in names:
        found = by_value(observations, (observation.versions.get(name, "") for observation in observations))
        if len(found) > 1:
            yield Finding(
                "error" if name in DECISIVE else "warning",
                f"unequal versions of {name}: {differing(found)}",
                "use the same environment on every node (one image, or the same lock file)",
            )
    drivers = by_value(observations, (observation.devices.driver for observation in observations))
    if len(drivers) > 1 and "" not in drivers:
        yield Finding(
            "warning",
            f"unequal NVIDIA drivers: {differing(drivers)}",
            "works as long as each is new enough for torch's CUDA; NCCL is tested on equal ones",
        )


def _settings(observations: Sequence[Observation]) -> Iterator[Finding]:
    names = {
        name: None
        for observation in observations
        for name in observation.settings
        if name in _EQUAL_SETTINGS or (name.startswith(_EQUAL_PREFIX) and name not in _OWN_SETTINGS)
    }
    for name in names:
        found = by_value(observations, (observation.settings.get(name, "") for observation in observations))
        if len(found) > 1:
            yield Finding(
                "warning", f"{name} differs: {differing(found)}", f"export the same {name} on every node"
            )
    for members in by_node(observations):
        found = by_value(members, (_path(observation, "cache") for observation in members))
        if len(found) > 1:
            yield Finding(
                "warning",
                f"processes of {members[0].host} have different cache folders: {differing(found)}",
                "export the same HF_HOME for all processes of a node, or each downloads the model for itself",
                [each.rank for each in members],
            )


def _path(observation: Observation, use: str) -> str:
    return next((folder.path for folder in observation.folders if folder.use == use), "")


def _threads(node: Sequence[Observation]) -> Iterator[Symptom]:
    """Processes that share CPUs; those that the launcher pinned to CPUs of their own are left in peace."""
    cpus = len({cpu for observation in node for cpu in observation.cpus})
    if sum(len(observation.cpus) for observation in node) <= cpus:
        return
    for observation in node:
        processes = observation.ranks.local_world_size if observation.ranks else 1
        told = observation.settings.get("OMP_NUM_THREADS", "")
        if told and not (told.isdigit() and int(told) > 1 and int(told) * processes > 2 * cpus):
            continue
        threads = (
            f"OMP_NUM_THREADS={told}"
            if told
            else f"OMP_NUM_THREADS unset, so a thread for each of {cpus} CPUs"
        )
        yield Symptom(
            observation,
            "warning",
            f"{processes} processes share the {cpus} CPUs of {observation.host}, each with {threads}",
            f"export OMP_NUM_THREADS={max(1, cpus // processes)}",
        )


def _disk(observation: Observation) -> Iterator[Symptom]:
    for folder in observation.folders:
        if folder.use == "output" and observation.rank != 0:
            continue  # only rank 0 writes the run folder
        if folder.use == "shm" and not (observation.devices.visible and observation.ranks):
            continue  # only NCCL between processes needs it
        if folder.problem:
            yield Symptom(
                observation,
                "error" if folder.use in ("output", "tmp") else "warning",
                f"the {_NAMES[folder.use]} {folder.path} on {observation.host} can't be used: {folder.problem}",
                _REMEDIES[folder.use],
            )
        elif folder.free < _enough(folder):
            yield Symptom(
                observation,
                "error" if folder.free < NOTHING_LEFT and folder.use != "cache" else "warning",
                f"little space for the {_NAMES[folder.use]} {folder.path} on {observation.host}: "
                f"{_round(folder.free)} free",
                _REMEDIES[folder.use],
            )


def _enough(folder: Folder) -> int:
    return {"output": ENOUGH_OUTPUT, "tmp": ENOUGH_TMP, "cache": ENOUGH_CACHE, "shm": ENOUGH_SHM}[folder.use]


def _round(size: int) -> str:
    """Coarse, so that ranks of one machine say the same."""
    return f"{size / _GIB:.0f} GiB" if size >= _GIB else f"{size / (1 << 20):.0f} MiB"


_NAMES = {
    "output": "output folder",
    "cache": "model cache",
    "tmp": "temporary folder",
    "shm": "shared memory",
}
_REMEDIES = {
    "output": "free some, or choose another place with --output",
    "cache": "free some (`hf cache`), or point HF_HOME to a larger disk; not needed for a local model folder",
    "tmp": "free some, or point TMPDIR elsewhere",
    "shm": "give the container more: `docker run --shm-size=8g` or `--ipc=host`",
}
