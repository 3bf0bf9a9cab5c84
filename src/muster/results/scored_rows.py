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

    Whoever goes over them many times makes a list of them.
    """

    def __init__(self) -> None:
        self._samples = Samples()
        self._repeats = array("q")
        self._scores: list[Score] = []
        self._known: dict[Hashable, Score] = {}

    def append(self, row: ScoredSample) -> None:
        """Add one at the end."""
        self._samples.append(row.sample)
        self._repeats.append(row.repeat)
        self._scores.append(self._shared(row.score))

    def __len__(self) -> int:
        return len(self._scores)

    @overload
    def __getitem__(self, index: int) -> ScoredSample: ...

    @overload
    def __getitem__(self, index: slice) -> list[ScoredSample]: ...

    def __getitem__(self, index: int | slice) -> ScoredSample | list[ScoredSample]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        return ScoredSample(self._samples[index], "", self._scores[index], self._repeats[index])

    def __iter__(self) -> Iterator[ScoredSample]:
        for sample, score, repeat in zip(self._samples, self._scores, self._repeats, strict=True):
            yield ScoredSample(sample, "", score, repeat)

    def _shared(self, score: Score) -> Score:
        """An equal score that is there already: most answers have one of very few."""
        if len(self._known) >= _SHARED_SCORES:
            return score
        return self._known.setdefault((score.extracted, *score.scores.items()), score)


class SomeRows(Sequence[ScoredSample]):
    """Some of the rows, in their order."""

    def __init__(self, rows: Sequence[ScoredSample], places: Sequence[int]) -> None:
        self._rows = rows
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> ScoredSample: ...

    @overload
    def __getitem__(self, index: slice) -> list[ScoredSample]: ...

    def __getitem__(self, index: int | slice) -> ScoredSample | list[ScoredSample]:
        if isinstance(index, slice):
            return [self._rows[place] for place in self._places[index]]
        return self._rows[self._places[index]]

    def __iter__(self) -> Iterator[ScoredSample]:
        return map(self._rows.__getitem__, self._places)
