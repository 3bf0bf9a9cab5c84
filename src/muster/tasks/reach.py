"""Whether the media that samples name may be opened, told before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from muster.core import ConfigurationError, Sample
from muster.media.gate import ADVICE, may_name
from muster.tasks.plan import PlannedTask
from muster.tasks.samples import IMAGES, VIDEOS

NAMED = 5


def out_of_reach(samples: Iterable[Sample]) -> Iterator[tuple[str, str]]:
    """Samples and the files that they name outside of their data's folders. Links show only when a file is opened."""
    for sample in samples:
        for media in (*sample.images, *sample.videos):
            for path in (media.path, media.subtitles):
                if path is not None and media.within is not None and not may_name(path, media.within):
                    yield sample.id, path


def check_reach(planned: Sequence[PlannedTask]) -> None:
    """Raise `ConfigurationError` where samples name files that will not be opened."""
    lines: list[str] = []
    for each in planned:
        found = list(out_of_reach(each.compact.having(IMAGES | VIDEOS)))
        lines += [
            f"task {each.task.name}, sample {sample}: {path} is outside of the data's folder"
            for sample, path in found[:NAMED]
        ]
        if len(found) > NAMED:
            lines.append(f"task {each.task.name}: … and {len(found) - NAMED} more")
    if lines:
        raise ConfigurationError("\n".join([*lines, f"What data names must be in its folder; {ADVICE}"]))
