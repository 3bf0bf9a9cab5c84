"""A task's scored answers as its metric aggregates them, in little room: see `muster.tasks.samples`."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterator, Sequence
from typing import overload

from muster.metrics.protocol import Score, ScoredSample
from muster.tasks.samples import Samples

_SHARED_SCORES = 4096


class ScoredRows(Sequence[ScoredSample]):
    """Scored answers in task order, without their texts; each is made when somebody looks at it.

    Whoever goes over them many times makes a list of them. What is wanted of all at once needs no row to be made.
    """

    def __init__(self, samples: Samples) -> None:
        """`samples`: the task's, of which the answers' samples are some."""
        self.samples = samples
        self.numbers = array("q")
        """Of each answer's sample, among `samples`."""
        self._repeats = array("q")
        self._scores: list[Score] = []
        self._known: dict[Hashable, Score] = {}

    def append(self, number: int, repeat: int, score: Score) -> None:
        """Add one at the end, of the sample with this number."""
        self.numbers.append(number)
        self._repeats.append(repeat)
        self._scores.append(self._shared(score))

    def chosen(self, places: Sequence[int]) -> ScoredRows:
        """Those at these places, in this order."""
        found = ScoredRows(self.samples)
        found.numbers.extend(self.numbers[place] for place in places)
        found._repeats.extend(self._repeats[place] for place in places)
        found._scores.extend(self._scores[place] for place in places)
        return found

    def score_values(self, name: str) -> list[float]:
        """See `muster.metrics.averages.HasScoreValues`."""
        return [score.scores[name] for score in self._scores]

    def __len__(self) -> int:
        return len(self._scores)

    @overload
    def __getitem__(self, index: int) -> ScoredSample: ...

    @overload
    def __getitem__(self, index: slice) -> list[ScoredSample]: ...

    def __getitem__(self, index: int | slice) -> ScoredSample | list[ScoredSample]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        return ScoredSample(self.samples[self.numbers[index]], "", self._scores[index], self._repeats[index])

    def __iter__(self) -> Iterator[ScoredSample]:
        for number, score, repeat in zip(self.numbers, self._scores, self._repeats, strict=True):
            yield ScoredSample(self.samples[number], "", score, repeat)

    def _shared(self, score: Score) -> Score:
        """An equal score that is there already: most answers have one of very few."""
        if len(self._known) >= _SHARED_SCORES:
            return score
        return self._known.setdefault((score.extracted, *score.scores.items()), score)
