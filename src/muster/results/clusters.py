"""Which samples are correlated: those that share an image or a video, or a value that the task names."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial

from muster.core import Media, Sample
from muster.core.numbers import whole
from muster.metrics.protocol import ScoredSample
from muster.results.media_identity import content_identities
from muster.results.scored_rows import ScoredRows
from muster.tasks.samples import IMAGES, LATER_TURN, VIDEOS, Samples

_LINKED = IMAGES | VIDEOS | LATER_TURN
"""What samples have that others may depend on."""


def cluster_ids(rows: Sequence[ScoredSample], cluster_key: str | None = None) -> list[str]:
    """The cluster of every row; repeats of a sample are always in one cluster.

    With `cluster_key`, rows with the same value of that metadata key are one cluster, and a sample without the
    key is one of its own. Without, samples that share any media, directly or through others, and the turns of a
    dialogue are one cluster, named after its first sample; a sample without any of these is one of its own.
    """
    names: list[str] = []
    linked: dict[str, Sample] = {}
    for row in rows:
        sample = row.sample
        names.append(f"sample:{sample.id}" if cluster_key is None else _by_key(sample, cluster_key))
        if cluster_key is None and _is_linked(sample):
            linked[sample.id] = sample
    if not linked:
        return names
    by_media = _by_media(linked.values())
    return [by_media.get(name.removeprefix("sample:"), name) for name in names]


def row_clusters(rows: ScoredRows, cluster_key: str | None = None) -> Sequence[Hashable]:
    """As `cluster_ids`, but named by numbers where no sample depends on another, so that no row needs to be made."""
    if cluster_key is None and not rows.samples.any_have(_LINKED):
        return rows.numbers
    return cluster_ids(rows, cluster_key)


def sample_clusters(samples: Iterable[Sample], cluster_key: str | None = None) -> Callable[[Sample], str]:
    """Says the cluster of each of a task's samples: see `cluster_ids`."""
    if cluster_key is not None:
        return partial(_by_key, key=cluster_key)
    if isinstance(samples, Samples):
        samples = samples.having(_LINKED)
    by_media = _by_media(samples)
    return lambda sample: by_media.get(sample.id) or f"sample:{sample.id}"


def _is_linked(sample: Sample) -> bool:
    """Whether other samples may depend on this one."""
    return bool(sample.images or sample.videos or sample.previous)


def _by_key(sample: Sample, key: str) -> str:
    value = sample.metadata.get(key)
    return f"sample:{sample.id}" if value is None else f"{key}:{whole(value)}"


def _by_media(samples: Iterable[Sample]) -> dict[str, str]:
    """Union-find over the samples, joined by the first sample that showed each medium, or began the dialogue."""
    seen = list(filter(_is_linked, samples))
    seen = list({each.id: each for sample in seen for each in (sample.dialogue[0], sample)}.values())
    parent = {sample.id: sample.id for sample in seen}
    shown_by: dict[str, str] = {}
    names: dict[str, list[str]] = {}
    media: dict[str, Media] = {}
    for sample in seen:
        named = {each.identity: each for each in (*sample.images, *sample.videos)}
        names[sample.id] = list(named)
        media.update(named)
    identities = content_identities(media)

    def root(sample_id: str) -> str:
        while parent[sample_id] != sample_id:
            parent[sample_id] = parent[parent[sample_id]]
            sample_id = parent[sample_id]
        return sample_id

    position = {sample.id: number for number, sample in enumerate(seen)}
    for sample in seen:
        shared = [identities[name] for name in names[sample.id]]
        for first_shown in (
            sample.dialogue[0].id,
            *(shown_by.setdefault(each, sample.id) for each in shared),
        ):
            first, second = root(first_shown), root(sample.id)
            if first != second:
                earlier, later = sorted((first, second), key=position.__getitem__)
                parent[later] = earlier
    return {sample_id: f"sample:{root(sample_id)}" for sample_id in parent}
