"""Thumbnails and prompts of a run's samples, from the data that it was asked with."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from muster.core import ConfigurationError, Media, Message, RequestKey, Sample, SampleError
from muster.media.images import load_image

if TYPE_CHECKING:
    from PIL.Image import Image

    from muster.tasks.plan import PlannedTask

log = logging.getLogger(__name__)

SIDE = 160
"""Pixels of a thumbnail's longer side."""
BUDGET = 30 << 20
"""Bytes of thumbnails in one page."""
_SPARED = 0.6
"""Share of the budget that right answers may take: those that are wrong must still have theirs."""
_FRAMES = 6
_PER_SAMPLE = 6


class Pictures:
    """Looks samples up in the plan of a run; without one, or where data is gone, there are no pictures."""

    def __init__(self, planned: Sequence[PlannedTask], answers: dict[RequestKey, str] | None = None) -> None:
        """`answers`: the model's, where later turns of dialogues quote them."""
        self._planned = {each.task.name: each for each in planned}
        self._samples = {each.task.name: {sample.id: sample for sample in each.samples} for each in planned}
        self._answers = answers or {}
        self._made: dict[str, str] = {}
        self.used = 0
        """Bytes so far."""
        self.left_out = 0
        """Samples whose pictures didn't fit."""

    def prompt(self, task: str, sample_id: str, repeat: int) -> str | None:
        """The conversation as it was sent, media in brackets; None where it isn't known."""
        sample = self._sample(task, sample_id)
        if sample is None:
            return None
        try:
            request = self._planned[task].request(sample, repeat, lambda key: self._answers.get(key, "…"))
        except (ConfigurationError, SampleError) as error:
            return str(error)
        return _shown(request.messages)

    def of(self, task: str, sample_id: str, *, important: bool) -> list[str]:
        """WebP thumbnails in base64: a sample's images, and the frames of its videos as a strip."""
        sample = self._sample(task, sample_id)
        if sample is None or not (sample.images or sample.videos):
            return []
        if self.used > BUDGET * (1 if important else _SPARED):
            self.left_out += 1
            return []
        planned = self._planned[task]
        media = [
            *(replace(image, image=planned.opened) for image in sample.images),
            *(replace(video, shown=planned.shown) for video in sample.videos),
        ]
        return [made for each in media[:_PER_SAMPLE] if (made := self._thumbnail(each))]

    def _sample(self, task: str, sample_id: str) -> Sample | None:
        return self._samples.get(task, {}).get(sample_id)

    def _thumbnail(self, media: Media) -> str:
        name = f"{media.identity} {media.clip}"
        if name not in self._made:
            made = b"" if (image := _opened(media)) is None else _small(image)
            self.used += len(made)
            self._made[name] = base64.b64encode(made).decode()
        return self._made[name]


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
        frame.thumbnail((SIDE // 2, SIDE // 2))
    strip = Image.new(
        "RGB", (sum(frame.width for frame in chosen), max(frame.height for frame in chosen)), "white"
    )
    left = 0
    for frame in chosen:
        strip.paste(frame, (left, 0))
        left += frame.width
    return strip


def _small(image: Image) -> bytes:
    if image.width <= SIDE * 3 and image.height <= SIDE // 2 + 1:
        small = image
    else:
        small = image.copy()
        small.thumbnail((SIDE, SIDE))
    held = io.BytesIO()
    small.save(held, "WEBP", quality=55, method=2)
    return held.getvalue()


def _shown(messages: Iterable[Message]) -> str:
    return "\n".join(
        f"[{message.role}]\n"
        + "".join(
            part.text if part.text is not None else f"[{part.media.kind if part.media else ''}]\n"
            for part in message.parts
        )
        for message in messages
    )
