"""Which samples are correlated: those that share an image or a video, or a value that the task names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from muster.core import Media, Sample
from muster.core.numbers import whole
from muster.metrics.protocol import ScoredSample
from muster.results.media_identity import content_identities


def cluster_ids(rows: Sequence[ScoredSample], cluster_key: str | None = None) -> list[str]:
    """The cluster of every row; repeats of a sample are always in one cluster.

    With `cluster_key`, rows with the same value of that metadata key are one cluster, and a sample without the
    key is one of its own. Without, samples that share any media, directly or through others, and the turns of a
    dialogue are one cluster, named after its first sample; a sample without any of these is one of its own.
    """
    by_sample = sample_clusters({row.sample.id: row.sample for row in rows}.values(), cluster_key)
    return [by_sample[row.sample.id] for row in rows]


def sample_clusters(samples: Iterable[Sample], cluster_key: str | None = None) -> dict[str, str]:
    """The cluster of each of a task's samples, by id: see `cluster_ids`."""
    if cluster_key is None:
        return _by_media(list(samples))
    return {sample.id: _by_key(sample, cluster_key) for sample in samples}


def _by_key(sample: Sample, key: str) -> str:
    value = sample.metadata.get(key)
    return f"sample:{sample.id}" if value is None else f"{key}:{whole(value)}"


def _by_media(samples: Sequence[Sample]) -> dict[str, str]:
    """Union-find over the samples, joined by the first sample that showed each medium, or began the dialogue."""
    seen = [sample for sample in samples if sample.images or sample.videos or sample.previous]
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
    return {
        sample.id: f"sample:{root(sample.id) if sample.id in parent else sample.id}" for sample in samples
    }
