"""The story: the number of one side, the number of the other, and what each step between them accounts for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muster.compare.paired_interval import paired_estimate
from muster.compare.settings import setting_differences
from muster.explain.combinations import AGGREGATION, Combination, Combinations, Term
from muster.explain.shapley import share, subsets
from muster.explain.sides import Side, common_tasks
from muster.explain.steps import step_between
from muster.metrics.protocol import ScoredSample
from muster.results.answer_scoring import Outcome

SAMPLES = "which samples count"
ANSWERS = "answers"
TOLERANCE = 1e-12
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Factor:
    """What one difference between the sides accounts for, in the unit of the number."""

    name: str
    share: float
    """Its part of the gap: the mean over all orders in which the factors can be swapped."""
    alone: float
    """What changes where it alone is taken from B, and all else from A."""
    last: float
    """What changes where all else is taken from B already."""
    changed: int | None
    """Answers whose score changes where it alone is taken from B; None where it isn't about single answers."""
    interval: tuple[float, float] | None = None
    """Of the share, 95 %, paired and by clusters; where both numbers are means over the same answers."""
    details: tuple[str, ...] = ()
    """What differs: `tasks.mme.prompt: … → …`."""
    examples: tuple[str, ...] = ()
    """Samples whose score changes."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Of one task."""

    task: str
    unit: str
    a: float
    """As its run has it, over all its answers."""
    b: float
    pairs: int
    """Answers that all runs have; the factors but `SAMPLES` are computed on these."""
    left_out: tuple[int, ...]
    """Answers of each run that another one lacks."""
    unscored: int
    """Of the pairs, those that some combination could not score (a judge is missing, a metric failed)."""
    factors: tuple[Factor, ...]
    """The largest first; their shares add up to `b - a`."""

    @property
    def gap(self) -> float:
        """B minus A."""
        return self.b - self.a


def explain(a: Side, b: Side, via: Sequence[Side] = (), tasks: Sequence[str] = ()) -> list[Explanation]:
    """Explain every task that the runs have in common, or those named. `via`: runs between A and B, in order.

    Raises `ConfigurationError` where they have no task or no answer in common, or their numbers have other units.
    """
    sides = [a, *via, b]
    return [_explained(Combinations(name, sides)) for name in common_tasks(sides, tasks)]


def _explained(task: Combinations) -> Explanation:
    last = len(task.sides) - 1
    a, b = task.own_value(0, 0), task.own_value(last, 1)
    factors = [_rule_factor(task, name) for name in task.parts]
    factors += [_step(task, number) for number in range(1, last + 1) if _other_run(task, number)]
    gap = task.value(Combination(last, frozenset(task.parts))) - task.value(Combination(0))
    left_out = tuple(len(texts) - len(task.keys) for texts in task.texts)
    if any(left_out):
        others = (b - a) - gap
        details = tuple(
            f"{side.named.run}: {count:,} answers that another run lacks"
            for side, count in zip(task.sides, left_out, strict=True)
            if count
        )
        factors.append(Factor(SAMPLES, others, others, others, None, details=details))
    factors.sort(key=lambda each: -abs(each.share))
    return Explanation(task.task, task.unit, a, b, len(task.keys), left_out, task.unscored, tuple(factors))


def _rule_factor(task: Combinations, name: str) -> Factor:
    """A part of the rules, swapped in every order with the others and with all changes of answers together."""
    last = len(task.sides) - 1
    factors = (*task.parts, *((ANSWERS,) if last else ()))
    terms = [
        Term(weight, Combination(last if ANSWERS in swapped else 0, swapped - {ANSWERS}))
        for swapped, weight in share(name, factors)
    ]
    whole, alone = frozenset(task.parts), frozenset({name})
    changed = _changed(task, Combination(0), Combination(0, alone)) if name != AGGREGATION else None
    return _factor(
        task, name, terms,
        (Combination(0), Combination(0, alone)),
        (Combination(last, whole - alone), Combination(last, whole)),
        changed, (f"{task.rules[0].label} → {task.rules[1].label}",),
    )  # fmt: skip


def _step(task: Combinations, number: int) -> Factor:
    """What changes from one run's answers to the next one's, whatever the rules."""
    terms = []
    for swapped, weight in subsets(task.parts):
        terms += [
            Term(weight, Combination(number, swapped)),
            Term(-weight, Combination(number - 1, swapped)),
        ]
    step = step_between(setting_differences(task.sides[number - 1 : number + 1], [task.task]))
    whole = frozenset(task.parts)
    ends = (Combination(number - 1), Combination(number))
    return _factor(
        task, f"{ANSWERS}: {step.name}", terms, ends,
        (Combination(number - 1, whole), Combination(number, whole)), _changed(task, *ends), step.details,
    )  # fmt: skip


def _factor(
    task: Combinations,
    name: str,
    terms: Sequence[Term],
    alone: tuple[Combination, Combination],
    last: tuple[Combination, Combination],
    changed: Sequence[int] | None,
    details: tuple[str, ...],
) -> Factor:
    parts = task.per_answer(terms)
    return Factor(
        name=name,
        share=sum(weight * task.value(combination) for weight, combination in terms),
        alone=task.value(alone[1]) - task.value(alone[0]),
        last=task.value(last[1]) - task.value(last[0]),
        changed=None if changed is None else len(changed),
        interval=None if parts is None else paired_estimate(parts, task.clusters()).interval,
        details=details,
        examples=tuple(task.keys[place][0] for place in (changed or ())[:_EXAMPLES]),
    )


def _other_run(task: Combinations, number: int) -> bool:
    before, after = task.sides[number - 1 : number + 1]
    return before.named.run.resolve() != after.named.run.resolve()


def _changed(task: Combinations, before: Combination, after: Combination) -> list[int]:
    """The pairs whose score is another."""
    outcomes = zip(task.outcomes(before), task.outcomes(after), strict=True)
    return [place for place, (one, other) in enumerate(outcomes) if _numbers(one) != _numbers(other)]


def _numbers(outcome: Outcome) -> object:
    return dict(outcome.score.scores) if isinstance(outcome, ScoredSample) else outcome.kind
