"""Interfaces, the meeting point, and clocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from muster.doctor.finding import Finding, Symptom, grouped, name_ranks
from muster.doctor.sighting import Sighting

SKEW_WARNING = 1.0
"""Seconds by which clocks may differ; the messages that tell the time take milliseconds."""


def network_findings(sightings: Sequence[Sighting]) -> Iterator[Finding]:
    """Everything about how ranks reach each other."""
    yield from grouped(symptom for sighting in sightings for symptom in _meeting(sighting))
    yield from grouped(symptom for sighting in sightings for symptom in _interfaces(sighting))
    if len({sighting.machine for sighting in sightings}) > 1:
        yield from grouped(symptom for sighting in sightings for symptom in _loopback(sighting))
        yield from _same_address(sightings)
    yield from grouped(symptom for sighting in sightings for symptom in _clock(sighting))


def _meeting(sighting: Sighting) -> Iterator[Symptom]:
    network = sighting.network
    host, _, port = network.meeting.rpartition(":")
    if network.port_taken_by:
        yield Symptom(
            sighting,
            "error",
            f"the rendezvous port {port} on {sighting.host} is taken by {network.port_taken_by}",
            "end that process if it is left over, or choose another port (MASTER_PORT, --master-port)",
        )
    if network.foreign_master:
        yield Symptom(
            sighting,
            "error",
            f"MASTER_ADDR={host} is not an address of {sighting.host}, where rank 0 must open the rendezvous",
            "set MASTER_ADDR to an address of rank 0's node, the same on all nodes",
        )
    if network.meeting_problem and not (network.port_taken_by or network.foreign_master):
        yield Symptom(
            sighting,
            "error",
            network.meeting_problem,
            "start all ranks together, rank 0 among them, with the same MASTER_ADDR and MASTER_PORT",
        )


def _interfaces(sighting: Sighting) -> Iterator[Symptom]:
    for problem in sighting.network.interface_problems:
        variable = problem.partition("=")[0]
        yield Symptom(
            sighting, "error", problem, f"set {variable} to one that all nodes have and share, or unset it"
        )


def _loopback(sighting: Sighting) -> Iterator[Symptom]:
    network = sighting.network
    if network.address.startswith("127."):
        yield Symptom(
            sighting,
            "error",
            f"{sighting.host} would talk to the other nodes over its loopback {network.interface} ({network.address})",
            "set MASTER_ADDR to an address that all nodes reach, and GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the "
            "interface of their network",
        )
    chosen = sighting.settings.get("GLOO_SOCKET_IFNAME")
    if network.own_name.startswith("127.") and not chosen and not network.address.startswith("127."):
        broken = sighting.collective is not None and not sighting.collective.ok
        yield Symptom(
            sighting,
            "error" if broken else "warning",
            f"{sighting.host}'s own name resolves to {network.own_name}, so Gloo listens where other "
            "nodes can't reach it",
            f"export GLOO_SOCKET_IFNAME={network.interface or '<interface>'} on every node, or correct /etc/hosts",
        )


def _same_address(sightings: Sequence[Sighting]) -> Iterator[Finding]:
    machines: dict[str, dict[str, list[int]]] = {}
    for sighting in sightings:
        address = sighting.network.address
        if address and not address.startswith("127."):
            machines.setdefault(address, {}).setdefault(sighting.machine, []).append(sighting.rank)
    for address, found in machines.items():
        if len(found) > 1:
            ranks = [rank for members in found.values() for rank in members]
            yield Finding(
                "error",
                f"{len(found)} machines have the same address {address}: a bridge of containers, not the network "
                f"between nodes ({name_ranks(ranks)})",
                "set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the interface of the nodes' network (`ip -br addr`)",
                ranks,
            )


def _clock(sighting: Sighting) -> Iterator[Symptom]:
    if sighting.skew is not None and abs(sighting.skew) >= SKEW_WARNING:
        side = "ahead of" if sighting.skew > 0 else "behind"
        yield Symptom(
            sighting,
            "warning",
            f"the clock of {sighting.host} is {abs(sighting.skew):.0f} s {side} rank 0's",
            "switch on time synchronisation (chrony, systemd-timesyncd): logs don't line up, and certificates may be "
            "refused",
        )
