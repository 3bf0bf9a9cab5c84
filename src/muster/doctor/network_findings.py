"""Interfaces, the meeting point, and clocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from muster.doctor.finding import Finding, Symptom, grouped, name_ranks
from muster.doctor.observation import Observation

SKEW_WARNING = 1.0
"""Seconds by which clocks may differ; the messages that tell the time take milliseconds."""


def network_findings(observations: Sequence[Observation]) -> Iterator[Finding]:
    """Everything about how ranks reach each other."""
    yield from grouped(symptom for observation in observations for symptom in _meeting(observation))
    yield from grouped(symptom for observation in observations for symptom in _interfaces(observation))
    if len({observation.machine for observation in observations}) > 1:
        yield from grouped(symptom for observation in observations for symptom in _loopback(observation))
        yield from _same_address(observations)
    yield from grouped(symptom for observation in observations for symptom in _clock(observation))


def _meeting(observation: Observation) -> Iterator[Symptom]:
    network = observation.network
    host, _, port = network.meeting.rpartition(":")
    if network.port_taken_by:
        yield Symptom(
            observation,
            "error",
            f"the rendezvous port {port} on {observation.host} is taken by {network.port_taken_by}",
            "end that process if it is left over, or choose another port (MASTER_PORT, --master-port)",
        )
    if network.foreign_master:
        yield Symptom(
            observation,
            "error",
            f"MASTER_ADDR={host} is not an address of {observation.host}, where rank 0 must open the rendezvous",
            "set MASTER_ADDR to an address of rank 0's node, the same on all nodes",
        )
    if network.meeting_problem and not (network.port_taken_by or network.foreign_master):
        yield Symptom(
            observation,
            "error",
            network.meeting_problem,
            "start all ranks together, rank 0 among them, with the same MASTER_ADDR and MASTER_PORT",
        )


def _interfaces(observation: Observation) -> Iterator[Symptom]:
    for problem in observation.network.interface_problems:
        variable = problem.partition("=")[0]
        yield Symptom(
            observation, "error", problem, f"set {variable} to one that all nodes have and share, or unset it"
        )


def _loopback(observation: Observation) -> Iterator[Symptom]:
    network = observation.network
    if network.address.startswith("127."):
        yield Symptom(
            observation,
            "error",
            f"{observation.host} would talk to the other nodes over its loopback {network.interface} "
            f"({network.address})",
            "set MASTER_ADDR to an address that all nodes reach, and GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the "
            "interface of their network",
        )
    chosen = observation.settings.get("GLOO_SOCKET_IFNAME")
    if network.own_name.startswith("127.") and not chosen and not network.address.startswith("127."):
        broken = observation.collective is not None and not observation.collective.ok
        yield Symptom(
            observation,
            "error" if broken else "warning",
            f"{observation.host}'s own name resolves to {network.own_name}, so Gloo listens where other "
            "nodes can't reach it",
            f"export GLOO_SOCKET_IFNAME={network.interface or '<interface>'} on every node, or correct /etc/hosts",
        )


def _same_address(observations: Sequence[Observation]) -> Iterator[Finding]:
    machines: dict[str, dict[str, list[int]]] = {}
    for observation in observations:
        address = observation.network.address
        if address and not address.startswith("127."):
            machines.setdefault(address, {}).setdefault(observation.machine, []).append(observation.rank)
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


def _clock(observation: Observation) -> Iterator[Symptom]:
    if observation.skew is not None and abs(observation.skew) >= SKEW_WARNING:
        side = "ahead of" if observation.skew > 0 else "behind"
        yield Symptom(
            observation,
            "warning",
            f"the clock of {observation.host} is {abs(observation.skew):.0f} s {side} rank 0's",
            "switch on time synchronisation (chrony, systemd-timesyncd): logs don't line up, and certificates may be "
            "refused",
        )
