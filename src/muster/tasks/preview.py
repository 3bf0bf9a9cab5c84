"""A prompt as text, and its images as files: for people who want to see what a model is asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from muster.core import Media, Message, RunError, Sample, SampleError
from muster.media import describe, load_image
from muster.media.preview import preview_media
from muster.media.video import load_video
from muster.tasks.definition import Task


def preview(messages: Sequence[Message]) -> str:
    """The conversation, an image as `[image 640×480]`, each message under its role."""
    return "\n".join(f"[{message.role}]\n{_text(message)}" for message in messages)


def save_media(sample: Sample, folder: Path, task: Task) -> list[Path]:
    """Write the images and video frames of the sample, and of the turns before it, as a model gets them of the task.

    Into `folder`, numbered in their order, as PNG. Raises `RunError` where they can't be written; what can't be decoded
    is left out.
    """
    name = re.sub(r"[^\w.-]+", "_", sample.id)[:60] or "sample"
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, media in enumerate((media for turn in sample.dialogue for media in turn.images), 1):
            file = folder / f"{name}-{number}.png"
            try:
                load_image(replace(media, image=task.image)).save(file)
            except SampleError:
                continue
            written.append(file)
        for number, media in enumerate((media for turn in sample.dialogue for media in turn.videos), 1):
            try:
                frames = load_video(replace(media, shown=task.video)).images()
            except SampleError:
                continue
            for place, frame in enumerate(frames, 1):
                file = folder / f"{name}-video{number}-{place:03}.png"
                frame.save(file)
                written.append(file)
    except OSError as error:
        raise RunError(f"{folder} can't be written: {error.strerror or error}") from error
    return written


def _text(message: Message) -> str:
    return "".join(part.text if part.text is not None else _media(part.media) for part in message.parts)


def _media(media: Media | None) -> str:
    if media is None:
        return ""
    if media.url is not None:
        return f"[{describe(media)}]\n"
    try:
        if media.kind == "video":
            return f"[{preview_media(media)}]\n"
        width, height = load_image(media).size
    except SampleError as error:
        return f"[{error}]\n"
    return f"[image {width}×{height}]\n"
