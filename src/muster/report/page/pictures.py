"""Thumbnails and prompts of a run's samples, from the data that it was asked with."""

from __future__ import annotations

import base64
import io
import logging
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from muster.core import (
    ConfigurationError,
    ImageSettings,
    Media,
    Message,
    RequestKey,
    Sample,
    SampleError,
)
from muster.media.images import LIMIT, load_image

if TYPE_CHECKING:
    from PIL.Image import Image

    from muster.tasks.plan import PlannedTask

log = logging.getLogger(__name__)

PIXELS = 160 * 120
"""Of a thumbnail."""
LONGEST = 320
"""Pixels of its longer side."""
BUDGET = 30 << 20
"""Bytes of thumbnails in one page."""
SECONDS = 60.0
"""After which no further thumbnails are begun: the frames of a thousand videos take hours to decode."""
_WRONG_FIRST = 3
"""So many wrong answers get theirs for each right one."""
_FRAMES, _FRAME_SIDE = 6, 80
_PER_SAMPLE = 6
_AHEAD = 64


@dataclass(frozen=True, slots=True)
class Wanted:
    """A sample that would have pictures."""

    row: int
    task: str
    sample_id: str
    wrong: bool


@dataclass(frozen=True, slots=True)
class Illustrated:
    """A sample that has some."""

    row: int
    numbers: list[int]
    """Of its thumbnails; samples with the same picture have the same."""
    new: list[str]
    """Those thumbnails that no sample had before, in the order of their numbers: WebP in base64."""


class Pictures:
    """Looks samples up in the plan of a run; without one, or where data is gone, there are no pictures."""

    def __init__(
        self,
        planned: Sequence[PlannedTask],
        answers: dict[RequestKey, str] | None = None,
        *,
        prompts: bool = True,
        budget: int = BUDGET,
        seconds: float = SECONDS,
    ) -> None:
        """`answers`: the model's, where later turns of dialogues quote them. `prompts`: whether the plan's were sent.

        `budget`, `seconds`: of all thumbnails.
        """
        self._prompts = prompts
        self._planned = {each.task.name: each for each in planned}
        self._samples = {each.task.name: {sample.id: sample for sample in each.samples} for each in planned}
        self._settings = {  # each looks through all samples
            each.task.name: (_small_settings(each.opened or ImageSettings()), each.shown) for each in planned
        }
        self._answers = answers or {}
        self._budget = budget
        self._seconds = seconds
        self.left_out = 0
        """Samples whose pictures didn't fit."""

    def prompt(self, task: str, sample_id: str, repeat: int) -> str | None:
        """The conversation as it was sent, media in brackets; None where it isn't known."""
        sample = self._sample(task, sample_id)
        if sample is None or not self._prompts:
            return None
        try:
            request = self._planned[task].request(sample, repeat, lambda key: self._answers.get(key, "…"))
        except (ConfigurationError, SampleError) as error:
            return str(error)
        return _shown(request.messages)

    def thumbnails(self, wanted: Iterable[Wanted]) -> Iterator[Illustrated]:
        """Of a sample's images, and the frames of its videos as a strip, until the budget or the time is used up.

        All tasks have their share of them, and wrong answers more than right ones.
        """
        waiting = [(each, media) for each in by_turns(wanted) if (media := self._media(each))]
        upcoming = iter(waiting)
        ahead: deque[tuple[Wanted, list[str]]] = deque()
        until = time.monotonic() + self._seconds
        done = 0
        with ThreadPoolExecutor(min(4, len(os.sched_getaffinity(0)))) as pool:
            making = _Making(pool)
            while True:
                while (
                    len(ahead) < _AHEAD
                    and making.used < self._budget
                    and time.monotonic() < until
                    and (found := next(upcoming, None)) is not None
                ):
                    ahead.append((found[0], [making.begin(each) for each in found[1]]))
                if not ahead:
                    break
                sample, names = ahead.popleft()
                yield Illustrated(sample.row, *making.finish(names))
                done += 1
        self.left_out = len(waiting) - done

    def _media(self, wanted: Wanted) -> list[Media]:
        sample = self._sample(wanted.task, wanted.sample_id)
        if sample is None or not (sample.images or sample.videos):
            return []
        small, shown = self._settings[wanted.task]
        media = [
            *(replace(image, image=small) for image in sample.images),
            *(replace(video, shown=shown) for video in sample.videos),
        ]
        return media[:_PER_SAMPLE]

    def _sample(self, task: str, sample_id: str) -> Sample | None:
        return self._samples.get(task, {}).get(sample_id)


class _Making:
    """Thumbnails that are being made, each once."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._begun: dict[str, Future[bytes]] = {}
        self._numbers: dict[str, int | None] = {}
        """Of those that are finished; None: it can't be had."""
        self._count = 0
        self.used = 0
        """Bytes."""

    def begin(self, media: Media) -> str:
        name = f"{media.identity} {media.clip}"
        if name not in self._numbers and name not in self._begun:
            self._begun[name] = self._pool.submit(_thumbnail, media)
        return name

    def finish(self, names: Iterable[str]) -> tuple[list[int], list[str]]:
        """The numbers of a sample's thumbnails, and those that weren't finished before, in base64."""
        numbers, new = [], []
        for name in names:
            if (job := self._begun.pop(name, None)) is not None:
                made = job.result()
                self._numbers[name] = self._count if made else None
                if made:
                    self.used += len(made)
                    self._count += 1
                    new.append(base64.b64encode(made).decode())
            if (number := self._numbers[name]) is not None:
                numbers.append(number)
        return numbers, new


def by_turns(wanted: Iterable[Wanted]) -> list[Wanted]:
    """Task by task in turns, three wrong answers for each right one."""
    ranks: dict[tuple[str, bool], int] = {}
    ordered = []
    for each in wanted:
        rank = ranks.get((each.task, each.wrong), 0)
        ranks[each.task, each.wrong] = rank + 1
        ordered.append((rank // _WRONG_FIRST if each.wrong else rank, each))
    return [each for _, each in sorted(ordered, key=lambda one: one[0])]


def _small_settings(settings: ImageSettings) -> ImageSettings:
    """As the model got it, and small: a JPEG is decoded at a fraction of its size then, which is four times faster."""
    return replace(
        settings,
        max_pixels=min(PIXELS, settings.max_pixels or PIXELS),
        limit=settings.limit or (None if settings.max_pixels else LIMIT),
    )


def _thumbnail(media: Media) -> bytes:
    """WebP; nothing where the picture can't be had."""
    image = _opened(media)
    if image is None:
        return b""
    if max(image.size) > LONGEST and media.kind == "image":
        image.thumbnail((LONGEST, LONGEST))
    held = io.BytesIO()
    image.save(held, "WEBP", quality=50, method=1)
    return held.getvalue()


def _opened(media: Media) -> Image | None:
    """The picture, or a strip of what the model saw of a video; None where it can't be had."""
    try:
        if media.kind == "image":
            return None if media.url is not None else load_image(media)
        from muster.media.video import load_video

        return _strip(list(load_video(media).images()))
    except (SampleError, ConfigurationError) as error:
        log.debug("no thumbnail: %s", error)
        return None


def _strip(frames: Sequence[Image]) -> Image | None:
    from PIL import Image

    if not frames:
        return None
    step = max(1, -(-len(frames) // _FRAMES))
    chosen = [frame.copy() for frame in frames[::step]]
    for frame in chosen:
        frame.thumbnail((_FRAME_SIDE, _FRAME_SIDE))
    strip = Image.new(
        "RGB", (sum(frame.width for frame in chosen), max(frame.height for frame in chosen)), "white"
    )
    left = 0
    for frame in chosen:
        strip.paste(frame, (left, 0))
        left += frame.width
    return strip


def _shown(messages: Iterable[Message]) -> str:
    return "\n".join(
        f"[{message.role}]\n"
        + "".join(
            part.text if part.text is not None else f"[{part.media.kind if part.media else ''}]\n"
            for part in message.parts
        )
        for message in messages
    )
