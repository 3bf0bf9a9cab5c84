"""From sightings to findings. Pure: no clock, no files, no network."""

from __future__ import annotations

from collections.abc import Sequence

from muster.doctor.device_findings import device_findings
from muster.doctor.finding import Finding
from muster.doctor.network_findings import network_findings
from muster.doctor.rank_findings import rank_findings
from muster.doctor.sighting import Backend, Sighting
from muster.doctor.software_findings import software_findings


def diagnose(sightings: Sequence[Sighting], waited: float | None = None) -> list[Finding]:
    """What is wrong, errors first, in the order in which a start would stumble over it.

    `waited` is how long absent ranks were waited for, in seconds.
    """
    ordered = sorted(sightings, key=lambda sighting: sighting.rank)
    findings = [
        *rank_findings(ordered, waited),
        *network_findings(ordered),
        *device_findings(ordered),
        *software_findings(ordered),
    ]
    return sorted(findings, key=lambda finding: finding.severity != "error")


def choose_backend(sightings: Sequence[Sighting]) -> Backend:
    """NCCL where every process has GPUs of its own that answer; else Gloo."""
    with_gpus = all(
        sighting.devices.driver
        and sighting.devices.bound
        and not any(gpu.problem for gpu in sighting.devices.gpus)
        and not sighting.versions.get("torch", "").endswith("+cpu")
        for sighting in sightings
    )
    return "nccl" if with_gpus else "gloo"
