"""What is wrong, for whom, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from muster.doctor.observation import Observation

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. An error makes a run fail or wrong; a warning may slow it down or mislead."""

    severity: Severity
    what: str
    do: str
    ranks: list[int] = field(default_factory=list)
    """Whom it concerns; empty: the group as a whole, or a process alone."""


class Symptom(NamedTuple):
    """The same thing seen by one process."""

    observation: Observation
    severity: Severity
    what: str
    do: str


def grouped(symptoms: Iterable[Symptom]) -> list[Finding]:
    """One finding per thing that is wrong, with the ranks that have it."""
    together: dict[tuple[Severity, str, str], list[int]] = {}
    for symptom in symptoms:
        concerned = together.setdefault((symptom.severity, symptom.what, symptom.do), [])
        if symptom.observation.ranks is not None:
            concerned.append(symptom.observation.rank)
    return [
        Finding(severity, what, do, sorted(set(ranks))) for (severity, what, do), ranks in together.items()
    ]


def spans(numbers: Iterable[int]) -> str:
    """`0–3, 5` for 0, 1, 2, 3 and 5."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}–{high}" for low, high in runs)


def name_ranks(numbers: Iterable[int]) -> str:
    """`rank 3`, `ranks 0–3, 5`."""
    chosen = sorted(set(numbers))
    return f"rank{'s' if len(chosen) != 1 else ''} {spans(chosen)}"


def by_node(observations: Iterable[Observation]) -> list[list[Observation]]:
    """The observations of each node."""
    nodes: dict[str, list[Observation]] = {}
    for observation in observations:
        nodes.setdefault(observation.node, []).append(observation)
    return list(nodes.values())


def by_value(observations: Sequence[Observation], values: Iterable[str]) -> dict[str, list[int]]:
    """Which ranks have which value."""
    found: dict[str, list[int]] = {}
    for observation, value in zip(observations, values, strict=True):
        found.setdefault(value, []).append(observation.rank)
    return found


def differing(found: dict[str, list[int]]) -> str:
    """`2.13.0 on ranks 0–6, 2.9.1 on rank 7`."""
    return ", ".join(f"{value or 'none'} on {name_ranks(ranks)}" for value, ranks in found.items())
