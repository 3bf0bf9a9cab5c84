"""One task of two sides: its answers paired, and the result of every combination of what is taken from which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from muster.core import ConfigurationError, Sample
from muster.explain.scoring import Answers, Key, aggregated, mean_of, score_names, scored, unit_of
from muster.explain.sides import Side
from muster.metrics.protocol import ScoredSample
from muster.results.answer_scoring import Outcome

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

READING = "answer extraction"
SCORING = "scoring"
AGGREGATION = "aggregation"
SCORING_AND_AGGREGATION = "scoring and aggregation"


class Combination(NamedTuple):
    """Whose answers, and which parts of B's rule."""

    run: int
    """Of the runs in order, A first."""
    swapped: frozenset[str] = frozenset()


class Term(NamedTuple):
    """A combination's result in a sum."""

    weight: float
    combination: Combination


@dataclass
class Combinations:
    """Scores every combination of a task's answers and rules once.

    Raises `ConfigurationError` where the numbers have other units, or the runs no answer in common.
    """

    task: str
    sides: Sequence[Side]
    _known: dict[tuple[int, int, int], list[Outcome]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        first, last = self.sides[0].rule(self.task), self.sides[-1].rule(self.task)
        self.rules = (first, first if first.same_as(last) else last)
        units = [unit_of(rule.metric) for rule in self.rules]
        if units[0] != units[1]:
            raise ConfigurationError(
                f"task {self.task}: {first.label} gives {units[0] or 'a number'}, {last.label} "
                f"{units[1] or 'a number'}: a difference between these can't be divided"
            )
        self.unit = units[0]
        self.samples = self.sides[0].samples(self.task)
        _check_samples(self.task, self.sides, self.samples)
        self.texts = [side.texts(self.task) for side in self.sides]
        self.keys = [key for key in self.texts[0] if all(key in each for each in self.texts[1:])]
        """Answers that all runs have, in the task's order."""
        if not self.keys:
            raise ConfigurationError(f"task {self.task}: the runs have no answer in common")
        self.parts = self._parts()

    def _parts(self) -> tuple[str, ...]:
        """What of the rules differs and can be swapped by itself."""
        if self.rules[0] is self.rules[1]:
            return ()
        names = [score_names(self._scored(0, each, each)) for each in (0, 1)]
        if names[0] == names[1] and mean_of(self.rules[0].metric) == mean_of(self.rules[1].metric):
            return (READING, SCORING, AGGREGATION)
        return (READING, SCORING_AND_AGGREGATION)

    def outcomes(self, combination: Combination) -> list[Outcome]:
        """The score of every pair's answer."""
        swapped = combination.swapped
        scoring = int(bool(swapped & {SCORING, SCORING_AND_AGGREGATION}))
        return self._scored(combination.run, int(READING in swapped), scoring)

    def value(self, combination: Combination) -> float:
        """The number."""
        aggregation = int(bool(combination.swapped & {AGGREGATION, SCORING_AND_AGGREGATION}))
        return aggregated(self.outcomes(combination), self.rules[aggregation].metric)

    def own_value(self, run: int, rule: int) -> float:
        """The number over all answers of a run, as the run itself has it."""
        if len(self.texts[run]) == len(self.keys):
            return aggregated(self._scored(run, rule, rule), self.rules[rule].metric)
        samples = self.sides[run].samples(self.task)
        listed = [(key, samples[key[0]]) for key in self.texts[run]]
        outcomes = scored(
            Answers(listed, self.texts[run], self.sides[run].verdicts), self.rules[rule], self.rules[rule]
        )
        return aggregated(outcomes, self.rules[rule].metric)

    def per_answer(self, terms: Iterable[Term]) -> NDArray[np.float64] | None:
        """What each answer adds to a sum of results: shape (pairs,). None where they aren't means over all pairs."""
        import numpy as np

        names = {mean_of(rule.metric) for rule in self.rules}
        name = next(iter(names))
        if len(names) > 1 or name is None:
            return None
        total = np.zeros(len(self.keys))
        for weight, combination in terms:
            for place, outcome in enumerate(self.outcomes(combination)):
                if not isinstance(outcome, ScoredSample):
                    return None
                total[place] += weight * outcome.score.scores[name]
        return total

    def clusters(self) -> NDArray[np.int64]:
        """The number of every pair's cluster: shape (pairs,)."""
        import numpy as np

        from muster.results.clusters import sample_clusters

        cluster_of = sample_clusters(self.samples.values(), self.rules[0].task.cluster)
        numbers: dict[str, int] = {}
        return np.array(
            [numbers.setdefault(cluster_of(self.samples[key[0]]), len(numbers)) for key in self.keys]
        )

    @property
    def unscored(self) -> int:
        """Pairs that some combination so far gave no score."""
        return len(
            {
                place
                for outcomes in self._known.values()
                for place, outcome in enumerate(outcomes)
                if not isinstance(outcome, ScoredSample)
            }
        )

    def _scored(self, run: int, reading: int, scoring: int) -> list[Outcome]:
        place = (run, reading, scoring)
        if place not in self._known:
            listed: list[tuple[Key, Sample]] = [(key, self.samples[key[0]]) for key in self.keys]
            answers = Answers(listed, self.texts[run], self.sides[run].verdicts)
            self._known[place] = scored(answers, self.rules[reading], self.rules[scoring])
        return self._known[place]


def _check_samples(name: str, sides: Sequence[Side], first: dict[str, Sample]) -> None:
    for side in sides[1:]:
        for sample in side.planned[name].samples:
            known = first.get(sample.id)
            if known is not None and (known.answers, known.choices) != (sample.answers, sample.choices):
                raise ConfigurationError(
                    f"task {name}: sample {sample.id} has other choices or reference answers in {side.named.run} than "
                    f"in {sides[0].named.run}: these are not the same samples, or the data has changed in between"
                )
