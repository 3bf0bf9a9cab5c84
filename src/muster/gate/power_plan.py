"""What a policy can decide with the samples at hand, before anything is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from muster.compare.paired_interval import paired_estimate
from muster.compare.pairing import align, cluster_array, score_array
from muster.compare.power import chances, pairs_needed
from muster.gate.decision import claims_of
from muster.gate.policy import Policy
from muster.result_files.loaded import LoadedRun, LoadedTask


@dataclass(frozen=True, slots=True)
class TaskAtHand:
    """What is known of a task before the run."""

    samples: int
    effective: float
    """Samples that would be as informative were they independent."""
    disagreement: float | None = None
    """The share on which two runs differ, where two were seen."""


@dataclass(frozen=True, slots=True)
class PlannedClaim:
    """The power of one claim."""

    claim: str
    samples: int
    effective: float
    disagreement: float
    go_if_unchanged: float
    """The chance that the claim holds when the run is as good as the baseline."""
    no_go_if_twice: float
    """The chance that it is broken when the run is worse by twice the margin."""
    needed: int | None
    """Independent samples for the policy's power to say GO when nothing has changed; None where none suffice."""
    enough: bool


def plan_power(policy: Policy, at_hand: Mapping[str, TaskAtHand]) -> list[PlannedClaim]:
    """The power of every `max_drop` claim, scores taken for right/wrong answers; not of floors and pooled claims."""
    claims = [
        claim
        for rule in policy.rules
        if rule.max_drop is not None and not rule.pooled
        for claim in claims_of(rule, policy, list(at_hand))
        if claim.tasks[0] in at_hand
    ]
    number = (
        max(1, sum(claim.rule.tier != "advisory" for claim in claims))
        if policy.correction == "bonferroni"
        else 1
    )
    one = 1 - (1 - policy.confidence) / 2
    widened = 1 - (1 - policy.confidence) / 2 / number
    planned = []
    for claim in claims:
        known = at_hand[claim.tasks[0]]
        margin = claim.rule.max_drop or 0.0
        seen = claim.rule.disagreement if claim.rule.disagreement is not None else known.disagreement
        share = policy.disagreement if seen is None else seen
        half = share / 2
        drop = 2 * margin
        worse = min(1.0, max(share, drop) / 2 + drop / 2)
        better = max(0.0, worse - drop)
        go = chances(known.effective, half, half, margin, quantile=one).holds
        planned.append(
            PlannedClaim(
                claim=claim.text,
                samples=known.samples,
                effective=known.effective,
                disagreement=share,
                go_if_unchanged=go,
                no_go_if_twice=chances(known.effective, better, worse, margin, quantile=widened).broken,
                needed=pairs_needed(half, half, margin, power=policy.power, quantile=one),
                enough=go >= policy.power,
            )
        )
    return planned


def at_hand_in(runs: Sequence[LoadedRun]) -> dict[str, TaskAtHand]:
    """What one run tells of its tasks (sizes and clusters), and two of how often such runs differ."""
    import numpy as np

    if len(runs) == 1:
        return {name: _alone(task) for name, task in runs[0].tasks.items()}
    found = {}
    for aligned in align(list(runs[:2]), common=True):
        first, second = (score_array(task) for task in aligned.tasks[:2])
        kept = np.logical_not(np.isnan(first + second))
        clusters = cluster_array(aligned.tasks[0])
        differences = (second - first)[kept]
        estimate = paired_estimate(differences, None if clusters is None else clusters[kept])
        found[aligned.name] = TaskAtHand(
            estimate.pairs, estimate.effective, float((differences != 0).mean()) if differences.size else None
        )
    return found


def _alone(task: LoadedTask) -> TaskAtHand:
    """Without a second run to see how much clusters matter, each counts as one sample: that is safe."""
    clusters = cluster_array(task)
    return TaskAtHand(len(task.rows), float(len(task.rows) if clusters is None else int(clusters.max()) + 1))
