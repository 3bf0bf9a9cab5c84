"""Which samples are correlated: those that share an image or a video, or a value that the task names."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial

from muster.core import JSON, Media, Sample
from muster.core.numbers import whole
from muster.metrics.protocol import ScoredSample
from muster.results.media_identity import content_identities
from muster.tasks.samples import IMAGES, LATER_TURN, VIDEOS, Samples

_LINKED = IMAGES | VIDEOS | LATER_TURN
"""What samples have that others may depend on."""


class Clusters:
    """Which of a task's samples depend on each other: told of all of them, or of some among themselves.

    With `cluster_key`, samples with the same value of that metadata key are one cluster, and a sample without the
    key is one of its own. Without, samples that share any media, directly or through others, and the turns of a
    dialogue are one cluster, named after its first sample; a sample without any of these is one of its own.
    """

    def __init__(self, samples: Samples, cluster_key: str | None = None) -> None:
        self._samples = samples
        self._key = cluster_key
        self._shared = array("q")
        """What samples share with others, by number: contents of media, and dialogues."""
        self._ends = array("q", [0])
        """Where each sample's part of them ends."""
        if cluster_key is None and samples.any_have(_LINKED):
            self._look()

    def among(self, numbers: Sequence[int]) -> Sequence[Hashable]:
        """The cluster of each of the samples with these numbers, ascending; the others might as well not be there."""
        if self._key is not None:
            return [self._by_key(number, self._key) for number in numbers]
        return self._firsts(numbers) if self._shared else numbers

    def names(self) -> Callable[[Sample], str]:
        """Says the name of a sample's cluster, among all samples."""
        if self._key is not None:
            return partial(_by_key, key=self._key)
        named: dict[str, str] = {}
        if self._shared:
            for number, first in enumerate(self._firsts(range(len(self._samples)))):
                opening = self._samples[first].dialogue[0].id if self._continues(first) else None
                if first != number or opening is not None:
                    named[self._samples.id_of(number)] = opening or self._samples.id_of(first)
        return lambda sample: f"sample:{named.get(sample.id, sample.id)}"

    def _look(self) -> None:
        samples, media = self._samples, dict[str, Media]()
        begin = {each.dialogue[0].id for each in samples.having(LATER_TURN)}
        numbers: dict[str, int] = {f"dialogue {first}": number for number, first in enumerate(begin)}
        for number, traits in enumerate(samples.traits()):
            opens = bool(begin) and samples.id_of(number) in begin
            if traits & _LINKED or opens:
                sample = samples[number]
                first = sample.dialogue[0]
                shown = {each.identity: each for each in _media(first, sample)}
                media |= shown
                self._shared.extend(numbers.setdefault(name, len(numbers)) for name in shown)
                if first.id in begin:
                    self._shared.append(numbers[f"dialogue {first.id}"])
            self._ends.append(len(self._shared))
        contents = content_identities(media)
        same: dict[str, int] = {}
        meant = [same.setdefault(contents.get(name, name), len(same)) for name in numbers]
        self._shared = array("q", [meant[shared] for shared in self._shared])

    def _firsts(self, numbers: Sequence[int]) -> Sequence[int]:
        """Union-find: of each sample the first one of its cluster."""
        showed: dict[int, int] = {}
        above: dict[int, int] = {}

        def root(number: int) -> int:
            while (higher := above.get(number, number)) != number:
                above[number] = above.get(higher, higher)
                number = higher
            return number

        for number in numbers:
            for shared in self._shared[self._ends[number] : self._ends[number + 1]]:
                one, other = root(showed.setdefault(shared, number)), root(number)
                if one != other:
                    above[max(one, other)] = min(one, other)
        return [root(number) for number in numbers] if above else numbers

    def _continues(self, number: int) -> bool:
        return bool(self._samples.traits_of(number) & LATER_TURN)

    def _by_key(self, number: int, key: str) -> str:
        return (
            _named(self._samples.metadata_of(number).get(key), key) or f"sample:{self._samples.id_of(number)}"
        )


def cluster_ids(rows: Sequence[ScoredSample], cluster_key: str | None = None) -> list[str]:
    """The name of the cluster of every row, among these rows; repeats of a sample are always in one cluster."""
    cluster_of = sample_clusters({row.sample.id: row.sample for row in rows}.values(), cluster_key)
    return [cluster_of(row.sample) for row in rows]


def sample_clusters(samples: Iterable[Sample], cluster_key: str | None = None) -> Callable[[Sample], str]:
    """Says the name of the cluster of each of `samples`: see `Clusters`."""
    return Clusters(samples if isinstance(samples, Samples) else Samples(samples), cluster_key).names()


def _media(first: Sample, sample: Sample) -> Iterator[Media]:
    for each in (first, sample) if first is not sample else (sample,):
        yield from each.images
        yield from each.videos


def _by_key(sample: Sample, key: str) -> str:
    return _named(sample.metadata.get(key), key) or f"sample:{sample.id}"


def _named(value: JSON, key: str) -> str:
    return "" if value is None else f"{key}:{whole(value)}"
