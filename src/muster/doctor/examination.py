"""The story of `muster doctor`: look, meet the others, try an all_reduce, diagnose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from muster.core import RunError
from muster.doctor.collective import all_reduce_alone, all_reduce_together
from muster.doctor.diagnosis import choose_backend, diagnose
from muster.doctor.exchange import follow, lead
from muster.doctor.finding import Finding
from muster.doctor.observation import Backend, Collective, Observation
from muster.doctor.probe import look
from muster.engines.placement import Asked
from muster.machine.ranks import Ranks

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store


@dataclass(frozen=True, slots=True)
class Report:
    """What `--json` prints. `ok` is False when there is an error among the findings."""

    ok: bool
    observations: list[Observation]
    findings: list[Finding] = field(default_factory=list)
    schema: int = 1


def examine(
    env: Mapping[str, str], output: Path, *, timeout: float, quick: bool, asked: Asked | None = None
) -> Report | None:
    """The report on this process, or on its whole group where it is rank 0; None on a rank that handed over its part.

    `timeout` (seconds) limits each wait; `quick` leaves out the all_reduce, and so torch in a process alone.
    `asked`: the replicas that are to be made.
    """
    mine = look(env, output, asked)
    if mine.ranks is None or mine.ranks.world_size == 1:
        return _report([mine if quick else _tested_alone(mine, timeout)], None)
    try:
        observations = _meet(mine, mine.ranks, timeout, quick=quick)
    except ImportError as error:
        return _report([_cut_off(mine, f"the ranks can't meet without torch: {error}")], timeout)
    except RunError as error:
        return _report([_cut_off(mine, str(error))], timeout)
    return None if observations is None else _report(observations, timeout)


def _meet(mine: Observation, ranks: Ranks, timeout: float, *, quick: bool) -> list[Observation] | None:
    if mine.network.meeting_problem:
        raise RunError(mine.network.meeting_problem)
    if mine.network.port_taken_by:
        raise RunError("the port of the rendezvous is taken")

    def test(store: Store, position: int, size: int, backend: Backend) -> Collective:
        return all_reduce_together(store, position, size, backend, mine.devices.bound, timeout)

    def choose(observations: Sequence[Observation]) -> Backend | None:
        return None if quick else choose_backend(observations)

    if ranks.rank == 0:
        return lead(ranks, mine, choose, test, timeout)
    follow(ranks, mine, test, timeout)
    return None


def _tested_alone(mine: Observation, timeout: float) -> Observation:
    if "torch" not in mine.versions:
        return mine  # said among the findings
    gpus = mine.devices.bound if choose_backend([mine]) == "nccl" else []
    collective = all_reduce_alone(gpus, timeout)
    return replace(mine, collective=collective, versions=mine.versions | collective.versions)


def _cut_off(mine: Observation, problem: str) -> Observation:
    return replace(mine, network=replace(mine.network, meeting_problem=problem))


def _report(observations: list[Observation], waited: float | None) -> Report:
    findings = diagnose(observations, waited)
    return Report(not any(finding.severity == "error" for finding in findings), observations, findings)
