"""Decides by a policy: every claim by its interval, never by the point alone.

- `max_drop` (non-inferiority): holds where the whole interval of the paired difference is above minus the margin, is
  broken where it is all below, and is open else. `floor` likewise, by the interval of the run's own score.
- NO-GO is said on intervals that are widened for the number of claims (Bonferroni), so that the chance of any false
  NO-GO stays what one claim's is. GO needs all critical claims, which needs no correction (Berger's intersection-union
  test).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from muster.compare.paired_interval import paired_estimate
from muster.compare.pairing import align, cluster_array, metadata_column, score_array
from muster.core import ConfigurationError
from muster.gate.finding import Finding, Outcome
from muster.gate.limits import completeness, kept_limits
from muster.gate.policy import EVERY_TASK, Policy, Rule
from muster.result_files.loaded import LoadedRun, LoadedTask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Verdict = Literal["GO", "NO-GO", "INCONCLUSIVE"]
EXIT_CODES: dict[Verdict, int] = {"GO": 0, "NO-GO": 1, "INCONCLUSIVE": 2}
_GROUP = "group:"


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy says."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    run: str
    baseline: str | None

    @property
    def exit_code(self) -> int:
        """0 for GO, 1 for NO-GO, 2 for INCONCLUSIVE."""
        return EXIT_CODES[self.verdict]


@dataclass(frozen=True, slots=True)
class _Claim:
    """A rule applied to one task, or to several together."""

    rule: Rule
    tasks: tuple[str, ...]
    where: dict[str, tuple[str, ...]]

    @property
    def text(self) -> str:
        rule = self.rule
        what = f"at least {rule.floor:g}" if rule.floor is not None else f"drops less than {rule.max_drop:g}"
        about = rule.subset or ", ".join(self.tasks)
        return f"{rule.name} ({about}): {what}" if rule.name else f"{about}: {what}"


def decide(policy: Policy, run: LoadedRun, baseline: LoadedRun | None, *, common: bool = False) -> Decision:
    """What `policy` says of `run`.

    Raises `ConfigurationError` for a missing baseline, and for runs that can't be compared.
    """
    if policy.needs_baseline and baseline is None:
        raise ConfigurationError(
            "the policy compares with a baseline (max_drop, ratios or settings): give --baseline RUN"
        )
    own, either = list(run.tasks), list(dict.fromkeys([*run.tasks, *(baseline.tasks if baseline else ())]))
    claims = [
        claim
        for rule in policy.rules
        for claim in claims_of(rule, policy, own if rule.max_drop is None else either)
    ]
    number = (
        max(1, sum(claim.rule.tier != "advisory" for claim in claims))
        if policy.correction == "bonferroni"
        else 1
    )
    findings = [_judged(claim, policy, run, baseline, number, common=common) for claim in claims]
    findings += [*completeness(run, baseline), *kept_limits(policy.limits, run, baseline)]
    return Decision(
        verdict_of(findings), tuple(findings), str(run.path), None if baseline is None else str(baseline.path)
    )


def verdict_of(findings: Sequence[Finding]) -> Verdict:
    """NO-GO where a critical or supporting claim is broken, else INCONCLUSIVE where a critical one is open, else GO."""
    if any(each.outcome == "broken" and each.tier != "advisory" for each in findings):
        return "NO-GO"
    if any(each.outcome == "open" and each.tier == "critical" for each in findings):
        return "INCONCLUSIVE"
    return "GO"


def claims_of(rule: Rule, policy: Policy, available: Sequence[str]) -> list[_Claim]:
    """A rule's claims: one per task, or one for all of them together."""
    if rule.subset is not None:
        subset = policy.subsets[rule.subset]
        where = {
            key: tuple(map(_as_text, value if isinstance(value, list) else [value]))
            for key, value in subset.where.items()
        }
        return [_Claim(rule, (subset.task,), where)]
    names = dict.fromkeys(name for each in rule.tasks for name in _named(each, available))
    return [_Claim(rule, tuple(names), {})] if rule.pooled else [_Claim(rule, (name,), {}) for name in names]


def _named(name: str, available: Sequence[str]) -> Sequence[str]:
    if name == EVERY_TASK:
        return available
    if not name.startswith(_GROUP):
        return [name]
    from muster.tasks.registry import own_groups

    groups = own_groups()
    group = name.removeprefix(_GROUP)
    if group not in groups:
        raise ConfigurationError(
            f"the policy names the group {group!r}; there are {', '.join(sorted(groups))}"
        )
    return groups[group]


def _as_text(value: str | float | bool) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _judged(
    claim: _Claim, policy: Policy, run: LoadedRun, baseline: LoadedRun | None, claims: int, *, common: bool
) -> Finding:
    rule = claim.rule
    for name in claim.tasks:
        for each in (run, baseline) if rule.max_drop is not None else (run,):
            if each is not None and name not in each.tasks:
                return Finding(claim.text, "open", f"{each.path} has no task {name}", rule.tier)
    one = 1 - (1 - policy.confidence) / 2
    widened = 1 - (1 - policy.confidence) / 2 / claims
    if rule.floor is not None:
        return _floor(claim, run.tasks[claim.tasks[0]], rule.floor, one, widened)
    if baseline is None or rule.max_drop is None:
        raise AssertionError("checked before")
    parts = [
        _differences(aligned.tasks, claim.where)
        for aligned in align([baseline, run], common=common, tasks=list(claim.tasks))
    ]
    return _drop(claim, parts, rule.max_drop, one, widened)


_Differences = tuple["NDArray[np.float64]", "NDArray[np.int64] | None"]


def _differences(tasks: Sequence[LoadedTask], where: dict[str, tuple[str, ...]]) -> _Differences:
    import numpy as np

    scores = score_array(tasks[1]) - score_array(tasks[0])
    kept = np.logical_not(np.isnan(scores)) & _selected(tasks[0], where)
    clusters = cluster_array(tasks[0])
    return scores[kept], None if clusters is None else clusters[kept]


def _selected(task: LoadedTask, where: dict[str, tuple[str, ...]]) -> NDArray[np.bool_]:
    import numpy as np

    kept = np.ones(len(task.rows), dtype=np.bool_)
    for key, values in where.items():
        kept &= np.array(
            [value in values for value in metadata_column(task, key).to_pylist()], dtype=np.bool_
        )
    return kept


def _drop(claim: _Claim, parts: Sequence[_Differences], margin: float, one: float, widened: float) -> Finding:
    from muster.results.quantiles import normal_quantile

    if any(not differences.size for differences, _ in parts):
        return Finding(claim.text, "open", "no sample to decide by", claim.rule.tier)

    def interval(quantile: float) -> tuple[float, float, float] | None:
        estimates = [paired_estimate(*part, quantile=quantile) for part in parts]
        mean = sum(each.difference for each in estimates) / len(estimates)
        bounds = [each.interval for each in estimates if each.interval is not None]
        if len(bounds) < len(estimates):
            return None
        if len(bounds) == 1:
            return mean, *bounds[0]
        reach = normal_quantile(quantile)
        spread = reach * math.hypot(*((high - low) / 2 / reach for low, high in bounds)) / len(bounds)
        return mean, mean - spread, mean + spread

    narrow, wide = interval(one), interval(widened)
    if narrow is None or wide is None:
        return Finding(
            claim.text, "open", "a single cluster of samples says nothing about others", claim.rule.tier
        )
    difference, low, _ = narrow
    outcome: Outcome = "holds" if low > -margin else "broken" if wide[2] < -margin else "open"
    pairs = sum(int(differences.size) for differences, _ in parts)
    said = f"{difference:+.4f} (interval {low:+.4f} … {narrow[2]:+.4f}, {pairs:,} pairs)"
    sentence = {
        "holds": f"the difference is {said}: not worse by {margin:g}",
        "broken": f"the difference is {said}: worse by more than {margin:g}",
        "open": f"the difference is {said}: these samples can't say whether it is worse by {margin:g}",
    }[outcome]
    return Finding(claim.text, outcome, sentence, claim.rule.tier)


def _floor(claim: _Claim, task: LoadedTask, floor: float, one: float, widened: float) -> Finding:
    import numpy as np

    scores = score_array(task)
    kept = np.logical_not(np.isnan(scores)) & _selected(task, claim.where)
    headline = task.headline
    if not task.headline_is_mean and headline is not None:
        if claim.where or headline.interval is None or headline.value is None:
            return Finding(
                claim.text, "open", f"`{headline.name}` has no interval to decide by", claim.rule.tier
            )
        value = headline.value
        bounds, wide = (_stretched(value, headline.interval, each) for each in (one, widened))
    else:
        if not kept.any():
            return Finding(claim.text, "open", "no sample to decide by", claim.rule.tier)
        scale = 100.0 if headline is not None and headline.unit == "percent" else 1.0
        clusters = _of(cluster_array(task), kept)
        value, bounds = _mean(scores[kept], clusters, one, scale)
        wide = _mean(scores[kept], clusters, widened, scale)[1]
    outcome: Outcome = "holds" if bounds[0] >= floor else "broken" if wide[1] < floor else "open"
    said = f"the score is {value:.4f} (interval {bounds[0]:.4f} … {bounds[1]:.4f})"
    sentence = {
        "holds": f"{said}: at least {floor:g}",
        "broken": f"{said}: below {floor:g}",
        "open": f"{said}: these samples can't say whether it reaches {floor:g}",
    }[outcome]
    return Finding(claim.text, outcome, sentence, claim.rule.tier)


def _stretched(value: float, interval: tuple[float, float], quantile: float) -> tuple[float, float]:
    """A score's 95 % interval at another quantile on each side, as a normal distribution's would be."""
    from muster.results.quantiles import normal_quantile

    ratio = normal_quantile(quantile) / normal_quantile(0.975)
    low, high = interval
    return value - (value - low) * ratio, value + (high - value) * ratio


def _of(clusters: NDArray[np.int64] | None, kept: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    return None if clusters is None else clusters[kept]


def _mean(
    scores: NDArray[np.float64], clusters: NDArray[np.int64] | None, quantile: float, scale: float
) -> tuple[float, tuple[float, float]]:
    """A mean with its interval at `quantile` on each side: Wilson's for scores between 0 and 1 (results/intervals)."""
    from muster.results.intervals import wilson
    from muster.results.quantiles import normal_quantile

    estimate = paired_estimate(scores, clusters, quantile=quantile)
    if estimate.interval is None:
        return estimate.difference * scale, (-math.inf, math.inf)
    low, high = estimate.interval
    if bool((scores >= 0).all()) and bool((scores <= 1).all()):
        low, high = wilson(estimate.difference, estimate.effective, normal_quantile(quantile))
    return estimate.difference * scale, (low * scale, high * scale)
