"""From observations to findings. Pure: no clock, no files, no network."""

from __future__ import annotations

from collections.abc import Sequence

from muster.doctor.device_findings import device_findings
from muster.doctor.finding import Finding
from muster.doctor.network_findings import network_findings
from muster.doctor.observation import Backend, Observation
from muster.doctor.rank_findings import rank_findings
from muster.doctor.software_findings import software_findings


def diagnose(observations: Sequence[Observation], waited: float | None = None) -> list[Finding]:
    """What is wrong, errors first, in the order in which a start would stumble over it.

    `waited` is how long absent ranks were waited for, in seconds.
    """
    ordered = sorted(observations, key=lambda observation: observation.rank)
    findings = [
        *rank_findings(ordered, waited),
        *network_findings(ordered),
        *device_findings(ordered),
        *software_findings(ordered),
    ]
    return sorted(findings, key=lambda finding: finding.severity != "error")


def choose_backend(observations: Sequence[Observation]) -> Backend:
    """NCCL where every process has GPUs of its own that answer; else Gloo."""
    with_gpus = all(
        observation.devices.driver
        and observation.devices.bound
        and not any(gpu.problem for gpu in observation.devices.gpus)
        and not observation.versions.get("torch", "").endswith("+cpu")
        for observation in observations
    )
    return "nccl" if with_gpus else "gloo"
